"""localstripe with what it lacks of Stripe and the ledger asks for.

- Idempotency keys: the first answer again, refused with another body.
- A customer's payment intents, newest first.
- Disputes, opened and ended through /_config/disputes.
- Answers that get lost: POST /_config/lost {"customer": "cus_..."} breaks the connection of that
  customer's next charge after it is made; with {"before": true}, before.
- Debits are under way until they are confirmed.
- A customer is charged by methods of their own only.
- The intent within the error of a declined charge, and `automatic_payment_methods` in a request.

It keeps nothing on disk and listens on this machine only.
"""

import socket
import sys
from urllib.parse import parse_qs

from aiohttp import web
from localstripe import server, webhooks
from localstripe.errors import UserError
from localstripe.resources import Charge, Event, List, PaymentIntent, PaymentMethod, StripeObject, store

# Another package may be in a version of its own; what is here was tried with localstripe 1.15.10.

store.dump_to_disk = lambda: None

answered = {}
lost = {}


@web.middleware
async def idempotency(request, handler):
    key = request.headers.get("Idempotency-Key")
    if request.method != "POST" or key is None:
        return await handler(request)
    asked = (request.path, await request.read())
    payer = parse_qs(asked[1].decode()).get("customer", [None])[0]
    before = lost.pop(payer, None)
    if before is True:
        request.transport.abort()
        return web.Response()
    if key in answered:
        first, answer = answered[key]
        if first != asked:
            body = {"error": {"type": "idempotency_error", "message": "another request"}}
            return web.json_response(body, status=400)
        return web.json_response(text=answer[1], status=answer[0])
    response = await handler(request)
    answered[key] = (asked, (response.status, response.text))
    if before is False:
        request.transport.abort()
    return response


make_intent = PaymentIntent._api_create.__func__


def create(cls, automatic_payment_methods=None, **data):
    method = PaymentMethod._api_retrieve(data["payment_method"])
    if method.customer != data["customer"]:
        raise UserError(400, "The payment method belongs to another customer, or to none.")
    known = {key for key in store if key.startswith("payment_intent:")}
    try:
        return make_intent(cls, **data)
    except UserError as error:
        made = [store[key] for key in store if key.startswith("payment_intent:") and key not in known]
        if made and error.code == 402:
            error.body["error"]["type"] = "card_error"
            error.body["error"]["payment_intent"] = made[0]._export()
        raise


def list_intents(cls, url, customer=None, limit=None, starting_after=None):
    page = List(url, limit=limit, starting_after=starting_after)
    intents = [value for key, value in store.items() if key.startswith("payment_intent:")]
    page._list = [one for one in reversed(intents) if customer in (None, one.customer)]
    return page


start_charge = Charge._initialize_charge


def start(self, *on_end):
    start_charge(self, *on_end)
    if self._authorized and self._is_async_payment_method():
        self.status = "pending"


Charge._initialize_charge = start
PaymentIntent._api_create = classmethod(create)
PaymentIntent._api_list_all = classmethod(list_intents)


class Dispute(StripeObject):
    object = "dispute"
    _id_prefix = "du_"

    def __init__(self, payment_intent=None, status="needs_response"):
        intent = PaymentIntent._api_retrieve(payment_intent)
        super().__init__()
        self.amount = intent.amount
        self.currency = intent.currency
        self.charge = intent.latest_charge.id
        self.payment_intent = intent.id
        self.metadata = {}
        self.reason = "fraudulent"
        self.status = status


async def config_dispute(request):
    data = await request.json()
    if "id" in data:
        dispute = Dispute._api_retrieve(data["id"])
        dispute.status = data["status"]
        kind = "charge.dispute.closed"
    else:
        dispute = Dispute(**data)
        kind = "charge.dispute.created"
    webhooks.schedule_webhook(Event(kind, dispute))
    return web.json_response(dispute._export())


async def config_lost(request):
    data = await request.json()
    lost[data["customer"]] = data.get("before", False)
    return web.Response()


server.app.middlewares.insert(0, idempotency)
server.app.router.add_route("GET", "/v1/disputes/{id}", server.api_retrieve(Dispute, "/v1/disputes"))
server.app.router.add_post("/_config/disputes", config_dispute)
server.app.router.add_post("/_config/lost", config_lost)

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
web.run_app(server.app, sock=listener, print=None)
