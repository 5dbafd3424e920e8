//! Frames that nobody may send, and frames that nobody needs.

use std::time::Duration;

use anyhow::anyhow;
use baton_protocol::frame::Frame;
use bytes::Bytes;
use quinn::Endpoint;
use tokio::task::JoinSet;

use crate::counts::Counts;
use crate::field::Field;
use crate::peer::{Peer, Turned};

/// Wrong frames under way at a time.
const AT_ONCE: usize = 16;

/// Sessions that send frames without end.
const ENDLESS: usize = 16;

/// Before one that was turned away tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes that are wrong, and why.
struct Wrong {
    name: &'static str,
    bytes: Vec<u8>,
    /// It comes after WELCOME, and not instead of HELLO.
    attached: bool,
}

fn all() -> Vec<Wrong> {
    let before = |name, bytes: &[u8]| Wrong { name, bytes: bytes.to_vec(), attached: false };
    let after = |name, bytes: &[u8]| Wrong { name, bytes: bytes.to_vec(), attached: true };
    let skipped = [&[0x40, 0x40, 0x50, 0x00][..], &[0; 4096]].concat();
    vec![
        before("HELLO of 4,097 bytes", &[0x01, 0x50, 0x01]),
        before("HELLO of 2^62 - 1 bytes", &[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        before("a skipped frame of 4,097 bytes", &[0x40, 0x40, 0x50, 0x01]),
        before("an unknown type", &[0x3f, 0x00]),
        before("ACTIVE instead of HELLO", &Frame::Active.encode()),
        before("HELLO that is too short", &[0x01, 0x02, 0x00, 0x00]),
        before("skipped frames of more than 16 KiB", &skipped.repeat(5)),
        before("a request of HTTP", b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n"),
        after("a skipped frame of 16,385 bytes", &[0x7f, 0xff, 0x80, 0x00, 0x40, 0x01]),
        after("an unknown type after WELCOME", &[0x2f, 0x00]),
        after("WELCOME from a client", &[0x02, 0x00]),
        after("OPEN with an alias that is none", &[&[0x04, 0x21, 0x01][..], &[7; 32]].concat()),
        after("WATCH with bytes left over", &[&[0x0a, 0x21][..], &[7; 33]].concat()),
        after("GOAWAY_ACK of nothing", &Frame::GoAwayAck { sequence: 7 }.encode()),
    ]
}

pub(super) async fn wrong(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for first in 0..AT_ONCE {
        let (field, counts, endpoint) = (field.clone(), counts.clone(), field.endpoint()?);
        let token = field.token("good")?;
        tasks.spawn(async move {
            let all = all();
            for wrong in all.iter().cycle().skip(first) {
                match send(&field, &endpoint, wrong, &token).await {
                    Ok(turned) => counts.one(&format!("{}: {}", wrong.name, turned.name())),
                    Err(turned) => {
                        counts.one(&turned.name());
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// How the relay takes it; the error is that it did not come to that.
async fn send(
    field: &Field,
    endpoint: &Endpoint,
    wrong: &Wrong,
    token: &Bytes,
) -> Result<Turned, Turned> {
    let mut peer = Peer::connect(field, endpoint).await?;
    if wrong.attached {
        peer.greet(field, &field.key(), token.clone()).await?;
    }
    // It may be closed before all of it is written.
    let _ = peer.write(&wrong.bytes).await;
    Ok(peer.closed().await)
}

pub(super) async fn skipped(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let skipped = ("skipped", [0x40, 0x40, 0x00].repeat(4096));
    let shut = ("ignored", Frame::Shut { alias: 16 }.encode().repeat(4096));
    let mut tasks = JoinSet::new();
    for (name, frames) in [skipped, shut].into_iter().cycle().take(ENDLESS) {
        let (field, counts, endpoint) = (field.clone(), counts.clone(), field.endpoint()?);
        let token = field.token("good")?;
        tasks.spawn(async move {
            let mut peer = Peer::attach(&field, &endpoint, &field.key(), token).await?;
            counts.one("attached");
            loop {
                peer.write(&frames).await?;
                counts.add(name, 4096);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        let ended: Result<(), Turned> = ended?;
        if let Err(turned) = ended {
            return Err(anyhow!("a session that does nothing forbidden: {}", turned.name()));
        }
    }
    Ok(())
}
