//! Who shows what is not theirs is refused, each time, and says so to nobody else.

use baton_protocol::datagram::Datagram;
use baton_protocol::frame::{Frame, Intent};
use baton_protocol::hello;
use bytes::Bytes;
use serde_json::json;

use crate::attacker::sum;
use crate::drill::Drill;
use crate::ground::{now_unix, token};
use crate::peer::{Peer, Who};
use crate::pool::{self, POOL};

fn refusals(drill: &Drill, code: &str) -> u64 {
    drill.ground.count(&format!(r#"auth_failures_total{{code="{code}"}}"#))
}

/// A session's bytes arrive where they should: at itself.
async fn is_undisturbed(victim: &mut Peer, alias: u64, who: &Who) {
    victim.open(alias, who.id()).await;
    victim.send_datagram(alias, b"undisturbed");
    loop {
        match victim.datagram().await {
            Datagram::Long { payload, .. } | Datagram::Aliased { payload, .. } => {
                return assert_eq!(payload, Bytes::from_static(b"undisturbed"));
            }
            other => drop(other),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_is_worth_nothing_on_another_connection() {
    let mut drill = Drill::begin("replayed HELLO").await;
    let (who, token) = (Who::new(99), token("neighbours").into());
    let mut victim = Peer::connect(drill.ground.address()).await.unwrap();
    let mut hello = who.hello(Intent::Fresh, token, Bytes::new());
    let mut exported = [0; hello::EXPORTER_LENGTH];
    let context = hello::exporter_context(&hello);
    let exporting = &victim.connection;
    exporting.export_keying_material(&mut exported, hello::EXPORTER_LABEL, &context).unwrap();
    hello::sign(&mut hello, &who.key, &exported);
    let overheard = Frame::Hello(Box::new(hello)).encode();
    victim.write(&overheard).await;
    assert!(matches!(victim.next().await, Frame::Welcome(_)), "it is good where it was made");

    let overheard = data_encoding::HEXLOWER.encode(&overheard);
    let mut attacker = drill.attack_with("replayed", &json!({"overheard": overheard}));
    attacker.until("refused bad_signature", 10).await;
    let window = drill.endure(&mut attacker).await;
    is_undisturbed(&mut victim, 16, &who).await;
    victim.connection.close(0_u32.into(), b"done");
    let counts = drill.recover(attacker, &window).await;
    drill.record("replayed and refused", counts["refused bad_signature"]);
    let other = counts.len() - 1 - counts.keys().filter(|name| *name == "turned away").count();
    assert_eq!(other, 0, "nothing else came of it: {counts:?}");
    let counted = refusals(&drill, "bad_signature");
    assert!(counted >= counts["refused bad_signature"], "{counted} refusals, {counts:?}");
    drill.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_worth_nothing_with_another_key_before_its_time_or_after_it() {
    let mut drill = Drill::begin("tokens of others").await;
    let who = Who::new(98);
    let made = |claims| String::from_utf8(pool::token(&claims).to_vec()).unwrap();
    let now = now_unix();
    let stolen = made(json!({"aud": POOL, "exp": now + 3600, "sub": who.id().to_string()}));
    // Beyond what clocks may differ by.
    let expired = made(json!({"aud": POOL, "exp": now - 31}));
    let early = made(json!({"aud": POOL, "exp": now + 3600, "nbf": now + 600}));
    let elsewhere = made(json!({"aud": "tests/other", "exp": now + 3600}));

    let mut victim = Peer::connect(drill.ground.address()).await.unwrap();
    let hello = who.hello(Intent::Fresh, stolen.clone().into(), Bytes::new());
    victim.hello(&who, hello).await;
    assert!(matches!(victim.next().await, Frame::Welcome(_)), "it is good for whom it was made");

    let tokens = json!({"tokens": {
        "stolen": stolen, "expired": expired, "early": early, "elsewhere": elsewhere,
    }});
    let mut attacker = drill.attack_with("tokens", &tokens);
    attacker.until("stolen refused", 10).await;
    let window = drill.endure(&mut attacker).await;
    is_undisturbed(&mut victim, 16, &who).await;
    victim.connection.close(0_u32.into(), b"done");
    let counts = drill.recover(attacker, &window).await;
    for (name, code) in [
        ("stolen", "token_invalid"),
        ("elsewhere", "token_invalid"),
        ("expired", "token_expired"),
        ("early", "token_expired"),
    ] {
        let refused = sum(&counts, &format!("{name} refused {code}"));
        let away = sum(&counts, &format!("{name} turned away"));
        drill.record(&format!("{name}, refused ({code})"), refused);
        assert!(refused >= 10, "{name}: {counts:?}");
        assert_eq!(sum(&counts, name), refused + away, "{name}: {counts:?}");
        assert!(refusals(&drill, code) >= refused);
    }
    drill.end().await;
}
