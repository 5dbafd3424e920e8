//! `baton ping`: the way to another peer, from end to end.

use std::io::Write as _;
use std::time::Duration;

use baton_client::{OpenError, PeerId};
use clap::Args;

use super::{Failure, Pool, until_told};

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
    #[command(flatten)]
    pool: Pool,
}

impl Ping {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let client = self.pool.connect().await?;
        let pings = async {
            let mut failed = None;
            for number in 1..=self.count {
                if number > 1 {
                    tokio::time::sleep(PAUSE).await;
                }
                failed = match client.ping(self.peer).await {
                    Ok(time) => {
                        let status = client.status();
                        let relay = status
                            .relay
                            .map_or_else(|| "none".to_owned(), |relay| relay.to_string());
                        let (time, rtt) =
                            (milliseconds(time), milliseconds(status.rtt.unwrap_or_default()));
                        writeln!(
                            std::io::stdout(),
                            "{number}: {time} ms by relay {relay}, which is {rtt} ms away"
                        )?;
                        None
                    }
                    Err(error) => Some(self.report(number, error)?),
                };
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

    fn report(&self, number: u32, source: OpenError) -> Result<Failure, Failure> {
        writeln!(std::io::stdout(), "{number}: {source}")?;
        Ok(Failure::Peer { peer: self.peer, source })
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}
