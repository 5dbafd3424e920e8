//! Numbered blocks on a stream, in both directions at once.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use super::Gaps;

/// Bytes of a block: its number, then bytes that follow from it.
const BLOCK: usize = 1000;

/// What one direction of a stream carried.
#[derive(Debug, Clone)]
pub struct Direction {
    /// Blocks that were written.
    pub sent: u64,
    /// Blocks that came, each the successor of the one before, each with the right bytes.
    pub received: u64,
    /// Between two blocks.
    pub gaps: Gaps,
}

/// Both ends write blocks at so many bytes per second until `stop`, and read the other's to its end. An end is a way in and a
/// way out.
///
/// # Errors
/// When the connection breaks, or a block is not the one that must come next.
pub async fn converse<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    (one_read, one_write): (R, W),
    (other_read, other_write): (R, W),
    bytes_per_second: u64,
    stop: watch::Receiver<bool>,
) -> io::Result<[Direction; 2]> {
    let (sent, came_back, sent_back, came) = tokio::try_join!(
        write(one_write, bytes_per_second, stop.clone()),
        read(one_read),
        write(other_write, bytes_per_second, stop),
        read(other_read),
    )?;
    let direction = |sent, (received, gaps)| Direction { sent, received, gaps };
    Ok([direction(sent, came), direction(sent_back, came_back)])
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    bytes_per_second: u64,
    stop: watch::Receiver<bool>,
) -> io::Result<u64> {
    let period = Duration::from_secs_f64(BLOCK as f64 / bytes_per_second as f64);
    let mut ticks = tokio::time::interval(period);
    // After a stall the blocks that are due come at once: the offered load stays what it is.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut number = 0;
    while !*stop.borrow() {
        ticks.tick().await;
        to.write_all(&block(number)).await?;
        number += 1;
    }
    to.shutdown().await?;
    Ok(number)
}

async fn read(mut from: impl AsyncRead + Unpin) -> io::Result<(u64, Gaps)> {
    let mut gaps = Gaps::new();
    let mut buffer = [0; BLOCK];
    let mut expected = 0;
    loop {
        match from.read_exact(&mut buffer).await {
            Ok(_) if buffer == block(expected) => {
                expected += 1;
                gaps.came(Instant::now());
            }
            Ok(_) => {
                let came = u64::from_be_bytes(std::array::from_fn(|byte| buffer[byte]));
                let what = format!("block {came} came where block {expected} must come");
                return Err(io::Error::other(what));
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok((expected, gaps));
            }
            Err(error) => return Err(error),
        }
    }
}

fn block(number: u64) -> [u8; BLOCK] {
    let mut block = std::array::from_fn(|byte| (number.wrapping_mul(31) as usize + byte) as u8);
    block[..8].copy_from_slice(&number.to_be_bytes());
    block
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    #[tokio::test]
    async fn a_whole_connection_loses_nothing() {
        let (stop, stopped) = watch::channel(false);
        let talk = tokio::spawn(async move {
            let (one, other) = pair().await;
            converse(one.into_split(), other.into_split(), 1_000_000, stopped).await
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.send_replace(true);
        let directions = talk.await.unwrap().unwrap();
        for direction in directions {
            assert!(direction.sent > 10, "{direction:?}");
            assert_eq!(direction.sent, direction.received);
        }
    }

    #[tokio::test]
    async fn a_block_that_is_missing_twice_there_or_changed_is_noticed() {
        for blocks in [[block(0), block(2)], [block(0), block(0)], [block(1), block(2)]] {
            let (mut one, other) = pair().await;
            for block in blocks {
                one.write_all(&block).await.unwrap();
            }
            let error = read(other.into_split().0).await.unwrap_err();
            assert!(error.to_string().contains("must come"), "{error}");
        }
    }
}
