"""Holds template.yaml, as SAM expands it, to the rules of template.guard.

Then it breaks the template in every way of BREAKS, each with the rule that must notice and no
other. A rule that no break is for fails the check: it might be one that can't fail.

Needs aws-sam-translator, and cfn-guard as the one argument; asks no network and no credentials.
"""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

HERE = Path(__file__).parent
RULES = (HERE / "template.guard").read_text()


class NoManagedPolicies:
    """The template names policies by their ARN or its own; SAM needs no list of AWS's."""

    @staticmethod
    def load():
        return {}


def expanded():
    """The template as it is deployed; where the code lies does not matter."""
    template = yaml_parse((HERE.parent.parent / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = {"Bucket": "code", "Key": "code"}
    return transform(template, {}, NoManagedPolicies())


def failing(guard, templates):
    """Of each template the names of the rules that it breaks, or that say nothing about it."""
    asked = {"rules": [RULES], "data": [json.dumps(template) for template in templates]}
    command = [guard, "validate", "--payload", "--structured", "-o", "json", "-S", "none"]
    told = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    try:
        reports = json.loads(told.stdout)
    except ValueError:
        sys.exit(f"cfn-guard: {told.stdout}{told.stderr}")
    assert len(reports) == len(templates), "a report for each"
    return [
        {check["Rule"]["name"] for check in report["not_compliant"]} | set(report["not_applicable"])
        for report in reports
    ]


def put(*path):
    """A break: the last of `path` is the value, before it is the way to its place."""
    *way, last, value = path

    def change(resources):
        place = resources
        for step in way:
            place = place[step]
        place[last] = value

    return change


def take(*path):
    """A break: what the way leads to is taken out."""
    *way, last = path

    def change(resources):
        place = resources
        for step in way:
            place = place[step]
        del place[last]

    return change


def properties(name, *path):
    return ("Resources", name, "Properties", *path)


STAGE = "ApiApiGatewayDefaultStage"
CORS = properties("Api", "Body", "x-amazon-apigateway-cors", "Fn::If")
STATEMENT = ("PolicyDocument", "Statement", 0)
HISTORY = "GET /v1/accounts/{account_id}/history"
PATHS = properties("Api", "Body", "paths")

BREAKS = [
    ("the_table_is_not_lost", put("Resources", "Table", "DeletionPolicy", "Delete")),
    ("the_table_is_not_lost", take("Resources", "Table", "UpdateReplacePolicy")),
    ("the_table_is_not_lost", put(*properties("Table", "DeletionProtectionEnabled"), False)),
    ("the_table_is_not_lost", take(*properties("Table", "PointInTimeRecoverySpecification"))),
    ("what_is_kept_is_encrypted", put(*properties("Table", "SSESpecification", "SSEEnabled"), False)),
    ("what_is_kept_is_encrypted", take(*properties("DeadLetters", "SqsManagedSseEnabled"))),
    ("time_deletes_what_is_marked", put(*properties("Table", "TimeToLiveSpecification", "AttributeName"), "at")),
    ("time_deletes_what_is_marked", take(*properties("Table", "TimeToLiveSpecification"))),
    ("statements_name_their_actions", put(*properties("WriteLedger", *STATEMENT, "Action"), "dynamodb:*")),
    ("statements_name_their_actions", put(*properties("WriteLedger", *STATEMENT, "Action", 0), "*")),
    (
        "statements_name_their_actions",
        put(*properties("MonthlyGrantRole", "Policies", 0, *STATEMENT, "Action"), "sqs:*"),
    ),
    ("statements_name_their_resources", put(*properties("WriteLedger", *STATEMENT, "Resource"), "*")),
    ("statements_name_their_resources", put(*properties("ReadDue", *STATEMENT, "Resource"), ["*"])),
    ("statements_name_their_resources", take(*properties("ReadDue", *STATEMENT, "Resource"))),
    (
        "statements_name_their_resources",
        put(*properties("MonthlyGrantRole", "Policies", 0, *STATEMENT, "Resource"), "arn:aws:sqs:*"),
    ),
    (
        "roles_have_no_policies_of_others",
        put(*properties("SpendRole", "ManagedPolicyArns", 0), "arn:aws:iam::aws:policy/AdministratorAccess"),
    ),
    ("readers_write_quotas_only", put(*properties("WalletRole", "ManagedPolicyArns", 2), {"Ref": "WriteLedger"})),
    ("readers_write_quotas_only", put(*properties("ReadLedger", *STATEMENT, "Action", 0), "dynamodb:PutItem")),
    ("readers_write_quotas_only", take(*properties("CountQuotas", *STATEMENT, "Condition"))),
    (
        "readers_write_quotas_only",
        put(
            *properties("CountQuotas", *STATEMENT, "Condition", "ForAllValues:StringLike"),
            {"dynamodb:LeadingKeys": ["*"]},
        ),
    ),
    ("who_mails_writes_of_mails_only", put(*properties("MailRole", "ManagedPolicyArns", 2), {"Ref": "WriteLedger"})),
    ("who_mails_writes_of_mails_only", take(*properties("NoteMails", *STATEMENT, "Condition"))),
    (
        "queues_let_in_services_only",
        put(*properties("DeadLettersFromEventBridge", *STATEMENT, "Principal"), "*"),
    ),
    ("queues_let_in_services_only", take(*properties("DeadLettersFromEventBridge", *STATEMENT, "Condition"))),
    ("logs_end", take(*properties("AccessLogs", "RetentionInDays"))),
    ("logs_end", take(*properties("Spend", "LoggingConfig"))),
    ("requests_are_logged_without_tokens", take(*properties(STAGE, "AccessLogSettings"))),
    (
        "requests_are_logged_without_tokens",
        put(
            *properties(STAGE, "AccessLogSettings", "Format"),
            '{"id":"$context.requestId","token":"$request.header.Authorization"}',
        ),
    ),
    ("every_route_is_throttled", take(*properties(STAGE, "DefaultRouteSettings"))),
    ("every_route_is_throttled", take(*properties(STAGE, "RouteSettings", HISTORY, "ThrottlingRateLimit"))),
    ("every_other_route_has_an_authorizer", take(*PATHS, "/v1/catalog", "get", "security")),
    ("every_other_route_has_an_authorizer", put(*PATHS, "/v1/promos/{code}", "put", "security", [{"NONE": []}])),
    (
        "every_other_route_has_an_authorizer",
        take(
            *properties("Api", "Body", "components", "securitySchemes", "Tokens"),
            "x-amazon-apigateway-authorizer",
            "jwtConfiguration",
            "audience",
        ),
    ),
    ("origins_are_named", put(*CORS, 1, "allowOrigins", ["*"])),
    ("origins_are_named", put(*CORS, 2, {"allowOrigins": ["*"]})),
    ("origins_are_named", put(*CORS, 1, "allowCredentials", True)),
    ("origins_are_named", put(*CORS, 1, "allowHeaders", ["*"])),
    ("origins_are_named", put("Parameters", "CorsOrigins", "Default", "*")),
    ("origins_are_named", put("Parameters", "CorsOrigins", "AllowedPattern", ".*")),
    ("functions_end", take(*properties("Spend", "Timeout"))),
    ("functions_end", put(*properties("Spend", "MemorySize"), 10240)),
    ("what_fails_is_kept", take(*properties("MonthlyGrantRun", "Targets", 0, "DeadLetterConfig"))),
    ("what_fails_is_kept", take(*properties("ReturnsClosures", "DestinationConfig"))),
    ("what_fails_is_kept", take(*properties("Mails", "RedrivePolicy"))),
]


def broken(template, change):
    template = copy.deepcopy(template)
    change(template)
    return template


def problems(guard):
    """What is wrong: with the template, with a rule that misses its break, with one that has none."""
    template = expanded()
    variants = [broken(template, change) for _, change in BREAKS]
    of_template, *of_variants = failing(guard, [template, *variants])
    for rule in sorted(of_template):
        yield f"the template breaks {rule}"
    for (rule, _), found in zip(BREAKS, of_variants):
        if found - of_template != {rule} - of_template:
            yield f"a break of {rule} was noticed by {sorted(found) or 'nothing'}"
    rules = {line.split()[1] for line in RULES.splitlines() if line.startswith("rule ")}
    for rule in sorted(rules - {rule for rule, _ in BREAKS}):
        yield f"no break shows that {rule} can fail"


def main(guard):
    found = list(problems(guard))
    if found:
        sys.exit("\n".join(found))
    print(f"the template keeps its rules, and {len(BREAKS)} ways to break them are noticed")


main(*sys.argv[1:])
