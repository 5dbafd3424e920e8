//! `baton status`: how the processes of this user are that run.

use std::io::Write as _;

use clap::Args;

use super::{Failure, control};

#[derive(Args)]
pub(crate) struct Status {
    /// Only the process with this number
    #[arg(value_name = "PID")]
    pid: Option<u32>,
    /// One JSON object on a line for each process
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let reports = control::ask(self.pid).await.map_err(Failure::Control)?;
        if reports.is_empty() {
            return Err(match self.pid {
                Some(pid) => Failure::NotRunning(format!("process {pid} is no `baton` of yours")),
                None => Failure::NotRunning("no `baton` of yours runs here".to_owned()),
            });
        }
        let mut out = std::io::stdout();
        for report in reports {
            if self.json {
                writeln!(out, "{}", serde_json::to_string(&report).unwrap_or_default())?;
            } else {
                writeln!(out, "{report}")?;
            }
        }
        Ok(())
    }
}
