//! How long who was let in may stay: tokens that end and are renewed, lists that change, rules and certificates that are
//! replaced under live sessions.

use std::time::{SystemTime, UNIX_EPOCH};

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Frame, Intent, RefusalCode, Refused, Renewed, Retry, Token};
use baton_protocol::id::PeerId;
use baton_relay::auth::{Allowlist, Mode, TokenKeys};
use baton_relay::{Relay, Reload};
use bytes::Bytes;
use serde_json::json;

use crate::peer::{Peer, Who};
use crate::pool;

/// What a relay allows clocks to differ, in seconds.
const LEEWAY: u64 = baton_protocol::token::LEEWAY_SECONDS;

fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token that opens the pool until then, with the leeway.
fn token_until(ends: u64) -> Bytes {
    pool::token(&json!({"aud": pool::POOL, "exp": ends - LEEWAY, "grp": "team"}))
}

async fn attach(relay: &Relay, who: &Who, token: Bytes) -> (Peer, Bytes) {
    let hello = who.hello(Intent::Fresh, token, Bytes::new());
    let (peer, welcome) = Peer::attach_with(relay, who, hello).await;
    (peer, welcome.ticket)
}

async fn renew(peer: &mut Peer, token: Bytes) -> Result<Renewed, Refused> {
    peer.say(Frame::Renew { token: Token(token) }).await;
    match peer.next().await {
        Frame::Renewed(renewed) => Ok(renewed),
        Frame::RenewRefused(refused) => Err(refused),
        other => panic!("{} instead of an answer to RENEW", other.name()),
    }
}

async fn refusal(relay: &Relay, who: &Who, intent: Intent, token: Bytes, ticket: Bytes) -> Refused {
    let mut peer = Peer::connect(relay.address()).await.unwrap();
    peer.hello(who, who.hello(intent, token, ticket)).await;
    let Frame::Refused(refused) = peer.next().await else { panic!("not refused") };
    refused
}

/// Something that needs a session which still works.
async fn works(peer: &mut Peer, alias: u64) {
    peer.open(alias, PeerId::from_bytes([9; 32])).await;
}

#[tokio::test]
async fn a_session_ends_with_its_token_unless_it_is_renewed_and_so_do_its_tickets() {
    let relay = pool::start("a", pool::tokens());
    let ends = now_unix() + 3;
    let [short, renewed] = [1, 2].map(Who::new);
    let (left, left_ticket) = attach(&relay, &short, token_until(ends)).await;
    let (mut stays, _) = attach(&relay, &renewed, token_until(ends)).await;
    let later = now_unix() + 600;
    let answer = renew(&mut stays, token_until(later)).await.unwrap();
    assert_eq!(answer.expires_unix, later);

    assert_eq!(left.closed().await, u64::from(CloseCode::TokenExpired.code()));
    assert!(now_unix() >= ends, "not before its end");
    works(&mut stays, 16).await;
    let refused = refusal(&relay, &short, Intent::Resume, Bytes::new(), left_ticket).await;
    assert_eq!((refused.code, refused.retry), (RefusalCode::TicketInvalid, Retry::Fresh));
    let resume = renewed.hello(Intent::Resume, Bytes::new(), answer.ticket);
    let (mut resumed, _) = Peer::attach_with(&relay, &renewed, resume).await;
    works(&mut resumed, 16).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_renewal_that_is_refused_takes_nothing_away_and_says_when_to_ask_again() {
    let relay = pool::start("a", pool::tokens());
    let (mut peer, _) = attach(&relay, &Who::new(1), token_until(now_unix() + 600)).await;
    let other_group = pool::token(&json!({"aud": pool::POOL, "exp": now_unix() + 600}));
    let refused = renew(&mut peer, other_group).await.unwrap_err();
    assert_eq!((refused.code, refused.retry), (RefusalCode::TokenInvalid, Retry::Never));
    assert!(refused.message.contains("another group"), "{refused:?}");

    let refused = renew(&mut peer, token_until(now_unix() + 900)).await.unwrap_err();
    assert_eq!(refused.code, RefusalCode::TooSoon);
    let Retry::After(wait) = refused.retry else { panic!("{refused:?}") };
    tokio::time::sleep(wait).await;
    let later = now_unix() + 900;
    assert_eq!(
        renew(&mut peer, token_until(later)).await.map(|renewed| renewed.expires_unix),
        Ok(later)
    );
    works(&mut peer, 16).await;
    let metrics = relay.metrics();
    for line in [
        r#"baton_relay_renewals_total{result="ok"} 1"#,
        r#"baton_relay_renewals_total{result="failed"} 2"#,
        r#"baton_relay_auth_failures_total{code="too_soon"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    relay.stop().await;
}

fn listed(peers: &[&Who]) -> Mode {
    Mode::Allowlist(Allowlist::from_iter(peers.iter().map(|who| (who.id(), String::new()))))
}

#[tokio::test]
async fn who_is_listed_no_more_must_go_and_the_others_notice_nothing() {
    let [first, second, third] = [1, 2, 3].map(Who::new);
    let relay = pool::start("a", listed(&[&first, &second]));
    let (mut stays, _) = Peer::attach(&relay, &first).await;
    let (goes, ticket) = attach(&relay, &second, Bytes::new()).await;
    let stranger = refusal(&relay, &third, Intent::Fresh, Bytes::new(), Bytes::new()).await;
    assert_eq!((stranger.code, stranger.retry), (RefusalCode::NotAllowed, Retry::Never));

    relay.reload(pool::rules(listed(&[&first, &third]))).await.unwrap();
    assert_eq!(goes.closed().await, u64::from(CloseCode::TokenExpired.code()));
    let again = refusal(&relay, &second, Intent::Resume, Bytes::new(), ticket).await;
    assert_eq!((again.code, again.retry), (RefusalCode::NotAllowed, Retry::Never));
    let (mut welcome, _) = Peer::attach(&relay, &third).await;
    works(&mut stays, 16).await;
    works(&mut welcome, 16).await;
    relay.stop().await;
}

#[tokio::test]
async fn new_keys_a_new_certificate_and_another_limit_hold_at_once_and_end_no_session() {
    let relay = pool::start("a", pool::tokens());
    let good = token_until(now_unix() + 600);
    let (mut before, _) = attach(&relay, &Who::new(1), good.clone()).await;

    let new_secret: &[u8] = b"the secret that takes the place of the other";
    let certificate = rcgen::generate_simple_self_signed(vec!["another".into()]).unwrap();
    let broken =
        Reload { certificates: vec![certificate.cert.der().clone()], ..pool::rules(Mode::Open) };
    relay.reload(broken).await.expect_err("a certificate of another key");
    let (_, _) = attach(&relay, &Who::new(2), good.clone()).await;
    let refused = refusal(&relay, &Who::new(3), Intent::Fresh, Bytes::new(), Bytes::new()).await;
    assert_eq!(refused.code, RefusalCode::TokenRequired, "nothing of what is broken holds");

    let rules = Mode::Token(TokenKeys::from_secrets(&[new_secret]));
    relay.reload(Reload { max_sessions: 1, ..pool::rules(rules) }).await.unwrap();
    let refused = refusal(&relay, &Who::new(3), Intent::Fresh, good, Bytes::new()).await;
    assert_eq!(refused.code, RefusalCode::TokenInvalid);
    let key = jsonwebtoken::EncodingKey::from_secret(new_secret);
    let claims = json!({"aud": pool::POOL, "exp": now_unix() + 600});
    let new = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let refused = refusal(&relay, &Who::new(3), Intent::Fresh, new.into(), Bytes::new()).await;
    assert_eq!(refused.code, RefusalCode::Full, "its token is good, and there is one session");
    assert_eq!(relay.status().capacity.max_sessions, 1);

    let private_key =
        rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let other = Reload {
        certificates: vec![certificate.cert.der().clone()],
        private_key: private_key.into(),
        ..pool::rules(pool::tokens())
    };
    relay.reload(other).await.unwrap();
    assert!(Peer::connect(relay.address()).await.is_err(), "it shows the other certificate");
    works(&mut before, 16).await;
    relay.stop().await;
}

#[tokio::test]
async fn when_the_rules_are_renewed_sessions_stay_and_their_tickets_are_good_no_more() {
    let relay = pool::start("a", pool::tokens());
    let (who, ends) = (Who::new(1), now_unix() + 60);
    let (mut peer, old) = attach(&relay, &who, token_until(ends)).await;
    relay.reload(Reload { policy_epoch: 1, ..pool::rules(pool::tokens()) }).await.unwrap();
    let refused = refusal(&relay, &who, Intent::Resume, Bytes::new(), old).await;
    assert_eq!((refused.code, refused.retry), (RefusalCode::TicketInvalid, Retry::Fresh));
    works(&mut peer, 16).await;
    // Whoever shows a token is let in by the rules of now.
    let newer = renew(&mut peer, token_until(ends + 1)).await.unwrap().ticket;
    let hello = who.hello(Intent::Resume, Bytes::new(), newer);
    let (mut again, _) = Peer::attach_with(&relay, &who, hello).await;
    works(&mut again, 16).await;
    relay.stop().await;
}
