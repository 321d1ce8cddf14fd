use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;
use crate::clock::Clock;
use crate::config::ClockConfig;

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "connects";

const RSA: &[u8] = include_bytes!("../fixtures/rsa.der");
const EC: &[u8] = include_bytes!("../fixtures/ec.der");
const STRANGER: &[u8] = include_bytes!("../fixtures/stranger.der");
const SHORT: &[u8] = include_bytes!("../fixtures/short.der");

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_der(RSA)
}

fn ec() -> EncodingKey {
    EncodingKey::from_ec_der(EC)
}

fn now() -> Time {
    let config = ClockConfig {
        local: false,
        in_aws: false,
    };
    Clock::new(&config).unwrap().real()
}

fn jwk(key: &EncodingKey, algorithm: Algorithm, id: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    serde_json::to_value(jwk).unwrap()
}

fn key_set() -> Value {
    json!({ "keys": [jwk(&rsa(), Algorithm::RS256, "r1"), jwk(&ec(), Algorithm::ES256, "e1")] })
}

/// A file that is gone when the test is.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(set: &Value) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "connects-keys-{}-{}.json",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let file = Self(std::env::temp_dir().join(name));
        file.write(set);
        file
    }

    fn write(&self, set: &Value) {
        std::fs::write(&self.0, set.to_string()).unwrap();
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn auth(source: JwksSource) -> Auth {
    let config = TokenConfig {
        jwks: source,
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
    };
    Auth::connect(config, now()).await.unwrap()
}

async fn auth_with(file: &KeyFile) -> Auth {
    auth(JwksSource::File(file.0.clone())).await
}

fn claims() -> Value {
    json!({
        "sub": "u-1",
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": now().timestamp() + 600,
        "scope": "openid connects",
        "accounts": ["a1", "a2"],
    })
}

fn with(member: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[member] = value;
    claims
}

fn without(member: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(member);
    claims
}

fn header(algorithm: Algorithm, id: Option<&str>) -> Header {
    let mut header = Header::new(algorithm);
    header.kid = id.map(str::to_owned);
    header
}

fn signed(algorithm: Algorithm, id: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let token = encode(&header(algorithm, id), claims, key).unwrap();
    format!("Bearer {token}")
}

fn by_rsa(claims: &Value) -> String {
    signed(Algorithm::RS256, Some("r1"), &rsa(), claims)
}

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("Bearer {}.{}.{signature}", encode(header), encode(claims))
}

/// What an `Authorization` header is answered: the caller, or the text of the 401.
async fn told(auth: &Auth, header: &str) -> Result<Arc<Caller>, String> {
    told_at(auth, header, now()).await
}

async fn told_at(auth: &Auth, header: &str, at: Time) -> Result<Arc<Caller>, String> {
    let problem = match auth.caller(Some(header), at).await {
        Ok(caller) => return Ok(caller),
        Err(problem) => problem,
    };
    [
        Unauthenticated::Missing,
        Unauthenticated::Malformed,
        Unauthenticated::Untrusted,
        Unauthenticated::NotNow,
    ]
    .into_iter()
    .find(|why| problem == Problem::from(*why))
    .map_or_else(
        || Err(problem.code().to_owned()),
        |why| Err(format!("{why:?}")),
    )
}

#[tokio::test]
async fn tokens_signed_by_a_known_key_are_accepted() {
    let file = KeyFile::new(&key_set());
    let auth = auth_with(&file).await;
    let soon = now().timestamp() + 10;
    for (what, token) in [
        ("RS256", by_rsa(&claims())),
        (
            "ES256",
            signed(Algorithm::ES256, Some("e1"), &ec(), &claims()),
        ),
        (
            "the only key of its algorithm",
            signed(Algorithm::ES256, None, &ec(), &claims()),
        ),
        (
            "one audience of several",
            by_rsa(&with("aud", json!(["other", AUDIENCE]))),
        ),
        (
            "expired within the leeway",
            by_rsa(&with("exp", json!(now().timestamp() - 10))),
        ),
        ("valid within the leeway", by_rsa(&with("nbf", json!(soon)))),
        ("no scope at all", by_rsa(&without("scope"))),
        ("no accounts", by_rsa(&without("accounts"))),
    ] {
        let caller = told(&auth, &token).await;
        assert!(caller.is_ok(), "{what}: {caller:?}");
        // From memory it is the same.
        assert_eq!(told(&auth, &token).await, caller, "{what}");
    }
    let scheme = by_rsa(&claims()).replace("Bearer", "bearer ");
    assert!(told(&auth, &scheme).await.is_ok());
}

#[tokio::test]
async fn a_caller_is_what_the_token_says() {
    let file = KeyFile::new(&key_set());
    let auth = auth_with(&file).await;
    let caller = told(&auth, &by_rsa(&claims())).await.unwrap();
    let expected = Caller {
        scopes: [Scope::User].into(),
        accounts: ["a1".to_owned(), "a2".to_owned()].into(),
    };
    assert_eq!(*caller, expected);
    let scope = json!("connects:admin connects:service");
    let caller = told(&auth, &by_rsa(&with("scope", scope))).await.unwrap();
    assert_eq!(caller.scopes, [Scope::Admin, Scope::Service].into());
}

#[tokio::test]
async fn every_other_token_is_refused() {
    let file = KeyFile::new(&key_set());
    let auth = auth_with(&file).await;
    let public = jwk(&rsa(), Algorithm::RS256, "r1");
    let modulus = public["n"].as_str().unwrap();
    let by_public_key = EncodingKey::from_secret(modulus.as_bytes());
    let by_raw_public_key =
        EncodingKey::from_secret(&BASE64URL_NOPAD.decode(modulus.as_bytes()).unwrap());
    let stranger = EncodingKey::from_rsa_der(STRANGER);
    let good = by_rsa(&claims());
    let (head_and_claims, signature) = good.rsplit_once('.').unwrap();
    let mut flipped = signature.to_owned();
    let first = if flipped.starts_with('A') { "B" } else { "A" };
    flipped.replace_range(..1, first);
    let head = good.split('.').next().unwrap();
    let other_claims = BASE64URL_NOPAD.encode(
        with("scope", json!("connects:admin"))
            .to_string()
            .as_bytes(),
    );
    let critical = {
        let mut header = header(Algorithm::RS256, Some("r1"));
        header.crit = Some(vec!["b64".to_owned()]);
        format!("Bearer {}", encode(&header, &claims(), &rsa()).unwrap())
    };
    let past = now().timestamp() - 40;
    let later = now().timestamp() + 40;
    for (what, token, why) in [
        ("nothing", String::new(), "Missing"),
        ("no scheme", "abc".to_owned(), "Missing"),
        ("no token", "Bearer ".to_owned(), "Missing"),
        ("another scheme", good.replace("Bearer", "Basic"), "Missing"),
        ("garbage", "Bearer garbage".to_owned(), "Malformed"),
        ("three dots", "Bearer a.b.c".to_owned(), "Malformed"),
        ("two tokens", format!("{good}, {good}"), "Malformed"),
        (
            "too long",
            format!("Bearer {}", "x".repeat(MAX_TOKEN + 1)),
            "Malformed",
        ),
        (
            "alg none",
            unsigned(&json!({ "alg": "none", "kid": "r1" }), &claims(), ""),
            "Malformed",
        ),
        (
            "alg None",
            unsigned(&json!({ "alg": "None", "kid": "r1" }), &claims(), ""),
            "Malformed",
        ),
        (
            "no signature",
            unsigned(&json!({ "alg": "RS256", "kid": "r1" }), &claims(), ""),
            "Untrusted",
        ),
        (
            "HS256 by the public key",
            signed(Algorithm::HS256, Some("r1"), &by_public_key, &claims()),
            "Untrusted",
        ),
        (
            "HS256 by its bytes",
            signed(Algorithm::HS256, Some("r1"), &by_raw_public_key, &claims()),
            "Untrusted",
        ),
        (
            "RS512",
            signed(Algorithm::RS512, Some("r1"), &rsa(), &claims()),
            "Untrusted",
        ),
        (
            "PS256",
            signed(Algorithm::PS256, Some("r1"), &rsa(), &claims()),
            "Untrusted",
        ),
        (
            "another's key",
            signed(Algorithm::RS256, Some("r1"), &stranger, &claims()),
            "Untrusted",
        ),
        (
            "an unknown key",
            signed(Algorithm::RS256, Some("r2"), &stranger, &claims()),
            "Untrusted",
        ),
        (
            "the other key's name",
            signed(Algorithm::RS256, Some("e1"), &rsa(), &claims()),
            "Untrusted",
        ),
        (
            "a flipped signature",
            format!("{head_and_claims}.{flipped}"),
            "Untrusted",
        ),
        (
            "other claims",
            format!("{head}.{other_claims}.{signature}"),
            "Untrusted",
        ),
        ("a critical extension", critical, "Untrusted"),
        ("expired", by_rsa(&with("exp", json!(past))), "NotNow"),
        (
            "not yet valid",
            by_rsa(&with("nbf", json!(later))),
            "NotNow",
        ),
        ("no exp", by_rsa(&without("exp")), "Malformed"),
        (
            "exp is text",
            by_rsa(&with("exp", json!("2099"))),
            "Untrusted",
        ),
        (
            "exp is null",
            by_rsa(&with("exp", json!(null))),
            "Untrusted",
        ),
        (
            "exp is negative",
            by_rsa(&with("exp", json!(-1))),
            "Untrusted",
        ),
        (
            "another issuer",
            by_rsa(&with("iss", json!("https://evil.example"))),
            "Untrusted",
        ),
        ("no issuer", by_rsa(&without("iss")), "Untrusted"),
        (
            "another audience",
            by_rsa(&with("aud", json!("payroll"))),
            "Untrusted",
        ),
        ("no audience", by_rsa(&without("aud")), "Untrusted"),
        (
            "accounts is text",
            by_rsa(&with("accounts", json!("a1"))),
            "Malformed",
        ),
        (
            "scope is a list",
            by_rsa(&with("scope", json!(["connects"]))),
            "Malformed",
        ),
    ] {
        assert_eq!(told(&auth, &token).await, Err(why.to_owned()), "{what}");
        // Nothing refused is remembered as good.
        assert_eq!(
            told(&auth, &token).await,
            Err(why.to_owned()),
            "{what}, again"
        );
    }
    let missing = auth.caller(None, now()).await.unwrap_err();
    assert_eq!(missing, Unauthenticated::Missing.into());
}

#[tokio::test]
async fn a_remembered_token_expires_all_the_same() {
    let file = KeyFile::new(&key_set());
    let auth = auth_with(&file).await;
    let start = now();
    let token = by_rsa(&with("exp", json!(start.timestamp() + 60)));
    assert!(told_at(&auth, &token, start).await.is_ok());
    let at = |seconds| start + TimeDelta::seconds(seconds);
    assert!(told_at(&auth, &token, at(90)).await.is_ok());
    assert_eq!(
        told_at(&auth, &token, at(91)).await,
        Err("NotNow".to_owned())
    );
}

#[tokio::test]
async fn memory_is_bounded() {
    let caller = Arc::new(Caller {
        scopes: HashSet::new(),
        accounts: HashSet::new(),
    });
    let start = now();
    let seconds = u64::try_from(start.timestamp()).unwrap();
    let mut state = State::default();
    let mut remember = |number: usize, expires: u64| {
        let fingerprint: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
        let caller = Arc::clone(&caller);
        state.remember(fingerprint, Verified { caller, expires }, start);
        state.verified.len()
    };
    // Half of them are over: those go first.
    for number in 0..MAX_VERIFIED {
        remember(number, if number % 2 == 0 { 0 } else { seconds + 600 });
    }
    assert_eq!(remember(MAX_VERIFIED, seconds + 600), MAX_VERIFIED / 2 + 1);
    for number in 0..10 * MAX_VERIFIED {
        assert!(remember(MAX_VERIFIED + number, seconds + 600) <= MAX_VERIFIED);
    }
}

#[tokio::test]
async fn a_new_key_is_found_and_a_withdrawn_one_forgotten() {
    let only_ec = json!({ "keys": [jwk(&ec(), Algorithm::ES256, "e1")] });
    let file = KeyFile::new(&only_ec);
    let auth = auth_with(&file).await;
    let start = now();
    let at = |seconds| start + TimeDelta::seconds(seconds);
    let token = by_rsa(&claims());
    let old = signed(Algorithm::ES256, Some("e1"), &ec(), &claims());
    assert!(told_at(&auth, &old, at(0)).await.is_ok());
    file.write(&json!({ "keys": [jwk(&rsa(), Algorithm::RS256, "r1")] }));
    // Just read: not read again at every stranger's bidding.
    assert_eq!(
        told_at(&auth, &token, at(1)).await,
        Err("Untrusted".to_owned())
    );
    assert!(told_at(&auth, &token, at(31)).await.is_ok());
    assert_eq!(
        told_at(&auth, &old, at(32)).await,
        Err("Untrusted".to_owned())
    );
}

#[tokio::test]
async fn keys_are_read_again_after_an_hour_and_an_old_copy_serves_on() {
    let file = KeyFile::new(&key_set());
    let auth = auth_with(&file).await;
    let start = now();
    let at = |seconds| start + TimeDelta::seconds(seconds);
    let token = by_rsa(&with("exp", json!(start.timestamp() + 20_000)));
    std::fs::write(&file.0, "not a key set").unwrap();
    assert!(told_at(&auth, &token, at(3700)).await.is_ok());
    file.write(&json!({ "keys": [jwk(&ec(), Algorithm::ES256, "e1")] }));
    assert_eq!(
        told_at(&auth, &token, at(3740)).await,
        Err("Untrusted".to_owned())
    );
}

#[tokio::test]
async fn only_fit_keys_are_kept() {
    let short = EncodingKey::from_rsa_der(SHORT);
    let mut for_encryption = jwk(&rsa(), Algorithm::RS256, "enc");
    for_encryption["use"] = json!("enc");
    let for_rs512 = jwk(&rsa(), Algorithm::RS512, "rs512");
    let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "oct" });
    let unreadable = json!({ "kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB" });
    let unknown = json!({ "kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "AA" });
    let unfit = [
        jwk(&short, Algorithm::RS256, "short"),
        for_encryption,
        for_rs512,
        secret,
        unreadable,
        unknown,
        json!("nonsense"),
    ];
    let none = json!({ "keys": unfit }).to_string();
    assert!(matches!(parse(none.as_bytes()), Err(KeysError::Empty)));
    let fit = jwk(&rsa(), Algorithm::RS256, "r1");
    let some = json!({ "keys": unfit.iter().chain([&fit]).collect::<Vec<_>>() }).to_string();
    let kept: Vec<_> = parse(some.as_bytes())
        .unwrap()
        .into_iter()
        .map(|key| key.id)
        .collect();
    assert_eq!(kept, [Some("r1".to_owned())]);
}

#[tokio::test]
async fn a_file_that_is_no_key_set_refuses_the_start() {
    let config = |path: &Path| TokenConfig {
        jwks: JwksSource::File(path.to_owned()),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
    };
    let empty = KeyFile::new(&json!({ "keys": [] }));
    assert!(Auth::connect(config(&empty.0), now()).await.is_err());
    assert!(
        Auth::connect(config(Path::new("/nowhere/keys.json")), now())
            .await
            .is_err()
    );
}

/// An issuer's HTTP server, with what it answers just now, and how often it was asked.
struct Issuer {
    url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicU32>,
}

impl Issuer {
    fn with(status: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = Self {
            url: format!("http://{}/keys", listener.local_addr().unwrap()),
            answer: Arc::default(),
            asked: Arc::default(),
        };
        issuer.answers(status, body);
        let (answer, asked) = (Arc::clone(&issuer.answer), Arc::clone(&issuer.asked));
        // It serves until the process ends.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    let read = stream.read(&mut buffer).unwrap();
                    request.extend_from_slice(&buffer[..read]);
                }
                assert!(request.starts_with(b"GET /keys HTTP/1.1\r\n"));
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        issuer
    }

    fn answers(&self, status: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
    }

    fn has(&self, keys: &[Value]) {
        self.answers("200 OK", &json!({ "keys": keys }).to_string());
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    async fn auth(&self) -> Auth {
        auth(JwksSource::Url(self.url.clone())).await
    }
}

#[tokio::test]
async fn keys_can_come_from_an_address() {
    let issuer = Issuer::with("503 Service Unavailable", "");
    let start = now();
    let at = |seconds| start + TimeDelta::seconds(seconds);
    // An issuer that is down does not refuse the start, but nobody can be let in meanwhile.
    let auth = issuer.auth().await;
    let token = by_rsa(&with("exp", json!(start.timestamp() + 20_000)));
    assert_eq!(told_at(&auth, &token, at(0)).await, Err("busy".to_owned()));
    issuer.answers("200 OK", &"x".repeat(MAX_KEY_SET + 1));
    assert_eq!(told_at(&auth, &token, at(2)).await, Err("busy".to_owned()));
    issuer.answers("200 OK", &key_set().to_string());
    assert!(told_at(&auth, &token, at(4)).await.is_ok());
    // Gone again: what was read serves on.
    issuer.answers("503 Service Unavailable", "");
    let claims = with("exp", json!(start.timestamp() + 20_000));
    let other = signed(Algorithm::ES256, Some("e1"), &ec(), &claims);
    assert!(told_at(&auth, &other, at(3700)).await.is_ok());
    assert_eq!(issuer.asked(), 4);
}

/// The issuer changes its key, as issuers do: for a while it has both.
#[tokio::test]
async fn a_rotation_is_followed_without_a_restart() {
    let old_key = jwk(&ec(), Algorithm::ES256, "e1");
    let new_key = jwk(&rsa(), Algorithm::RS256, "r1");
    let issuer = Issuer::with("200 OK", "");
    issuer.has(std::slice::from_ref(&old_key));
    let start = now();
    let at = |seconds| start + TimeDelta::seconds(seconds);
    let auth = issuer.auth().await;
    let claims = with("exp", json!(start.timestamp() + 20_000));
    let old = signed(Algorithm::ES256, Some("e1"), &ec(), &claims);
    let new = by_rsa(&claims);
    let untrusted = || Err("Untrusted".to_owned());
    assert!(told_at(&auth, &old, at(0)).await.is_ok());
    assert_eq!(told_at(&auth, &new, at(40)).await, untrusted());

    issuer.has(&[old_key, new_key.clone()]);
    assert!(told_at(&auth, &new, at(80)).await.is_ok());
    assert!(told_at(&auth, &old, at(80)).await.is_ok());
    assert_eq!(issuer.asked(), 3);

    // Both are remembered now, and yet the old one dies with its key, when that is noticed.
    issuer.has(&[new_key]);
    assert!(told_at(&auth, &old, at(3_679)).await.is_ok());
    assert_eq!(issuer.asked(), 3);
    assert_eq!(told_at(&auth, &old, at(3_680)).await, untrusted());
    assert!(told_at(&auth, &new, at(3_680)).await.is_ok());
    assert_eq!(issuer.asked(), 4);
}

/// Strangers name keys that there are not, many at a time, each another, for ten minutes: the issuer
/// is asked as often as it would be by one of them.
#[tokio::test]
async fn unknown_keys_do_not_become_a_storm() {
    const SECONDS: i64 = 600;
    const AT_ONCE: i64 = 20;
    let stranger = |number: i64| {
        let header = json!({ "alg": "RS256", "kid": format!("nobody-{number}") });
        unsigned(&header, &claims(), "c2lnbmVk")
    };
    for (known, status, apart) in [
        (true, "200 OK", ATTEMPTS_APART),
        (true, "503 Service Unavailable", ATTEMPTS_APART),
        (false, "503 Service Unavailable", ATTEMPTS_APART_WITHOUT),
    ] {
        let issuer = Issuer::with(status, "");
        if known {
            issuer.answers("200 OK", &key_set().to_string());
        }
        let start = now();
        let auth = issuer.auth().await;
        if status != "200 OK" {
            issuer.answers(status, "");
        }
        let good = by_rsa(&with("exp", json!(start.timestamp() + 20_000)));
        for second in 1..=SECONDS {
            let at = start + TimeDelta::seconds(second);
            let tokens: Vec<String> = (0..AT_ONCE)
                .map(|n| stranger(second * AT_ONCE + n))
                .collect();
            let told = tokens.iter().map(|token| told_at(&auth, token, at));
            for told in futures::future::join_all(told).await {
                let why = if known { "Untrusted" } else { "busy" };
                assert_eq!(told, Err(why.to_owned()));
            }
            assert_eq!(told_at(&auth, &good, at).await.is_ok(), known);
        }
        let most = u32::try_from(SECONDS / apart.num_seconds()).unwrap();
        let (asked, most) = (issuer.asked(), 1 + most);
        assert!((most / 2..=most).contains(&asked), "{asked} of {most}");
    }
}

#[test]
fn who_may_act_on_which_account() {
    let caller = |scopes: &[Scope]| Caller {
        scopes: scopes.iter().copied().collect(),
        accounts: ["a1".to_owned()].into(),
    };
    use Scope::{Admin, Service, User};
    for (held, route, account, answer) in [
        (&[User][..], &[User, Service][..], "a1", Ok("a1")),
        (&[User], &[User, Service], "a2", Err("account_not_found")),
        (
            &[User],
            &[User, Service],
            "not an id",
            Err("account_not_found"),
        ),
        (&[User], &[Service], "a1", Err("forbidden")),
        (&[User], &[Service], "a2", Err("forbidden")),
        (&[Service], &[User, Service], "a2", Ok("a2")),
        (
            &[Service],
            &[User, Service],
            "not an id",
            Err("account_not_found"),
        ),
        (&[Service], &[User], "a1", Err("forbidden")),
        (&[Admin], &[User, Service], "a1", Err("forbidden")),
        (&[Admin], Scope::ANY, "a2", Ok("a2")),
        (&[User, Service], &[User, Service], "a2", Ok("a2")),
        (&[User, Service], &[User], "a2", Err("account_not_found")),
        (&[User, Service], &[User], "a1", Ok("a1")),
        (&[], Scope::ANY, "a1", Err("forbidden")),
    ] {
        let may = caller(held).may(route, account);
        let told = may.as_ref().map(AccountId::as_str).map_err(Problem::code);
        assert_eq!(told, answer, "{held:?} on {route:?}, {account}");
    }
}
