//! `baton ping`: the way to another peer, from end to end.

use std::io::Write as _;
use std::time::Duration;

use baton_client::{OpenError, PeerId, Status};
use clap::Args;
use serde_json::json;

use super::{Failure, Pool, policy, until_told};

/// Between two pings.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Ping {
    /// The other peer
    #[arg(value_name = "PEER")]
    peer: PeerId,
    /// How often
    #[arg(short = 'c', long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// One JSON object on a line for each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pool: Pool,
}

impl Ping {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Self { peer, count, json, pool } = self;
        let client = pool.reach().connect(policy::of(&[], [peer])).await?;
        let pings = async {
            let mut failed = None;
            for number in 1..=count {
                if number > 1 {
                    tokio::time::sleep(PAUSE).await;
                }
                let result = client.ping(peer).await;
                let said = if json {
                    for_programs(number, &result, &client.status())
                } else {
                    for_people(number, &result, &client.status())
                };
                writeln!(std::io::stdout(), "{said}")?;
                failed = result.err().map(|source| Failure::Peer { peer, source });
            }
            failed.map_or(Ok(()), Err)
        };
        let ended = tokio::select! {
            ended = pings => ended,
            ended = until_told(&client) => ended,
        };
        client.close().await;
        ended
    }
}

fn for_people(number: u32, result: &Result<Duration, OpenError>, status: &Status) -> String {
    match result {
        Ok(time) => {
            let relay = status.relay.map_or_else(|| "none".to_owned(), |relay| relay.to_string());
            let (time, rtt) = (milliseconds(*time), milliseconds(status.rtt.unwrap_or_default()));
            format!("{number}: {time:.2} ms by relay {relay}, which is {rtt:.2} ms away")
        }
        Err(error) => format!("{number}: {error}"),
    }
}

fn for_programs(number: u32, result: &Result<Duration, OpenError>, status: &Status) -> String {
    let said = match result {
        Ok(time) => json!({
            "number": number, "ms": milliseconds(*time),
            "relay": status.relay.map(|relay| relay.to_string()),
            "relayMs": status.rtt.map(milliseconds),
        }),
        Err(error) => json!({"number": number, "error": error.to_string()}),
    };
    said.to_string()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
