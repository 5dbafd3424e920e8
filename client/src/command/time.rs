//! Times as people write them: a number with s, m, h or d.

use std::time::Duration;

/// A time that is longer than nothing.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match time_or_zero(text)? {
        Duration::ZERO => {
            Err(format!("'{text}' is no time at all: write a longer one, with s, m, h or d"))
        }
        time => Ok(time),
    }
}

/// A time, which may be zero.
pub(crate) fn time_or_zero(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: write a number with s, m, h or d, as in 24h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 =
        text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        for text in [
            "",
            "h",
            "24",
            "-1h",
            "-5s",
            "1.5h",
            "1w",
            "99999999999999999999d",
            "999999999999999999d",
            "ü",
        ] {
            assert!(time_or_zero(text).is_err(), "{text}");
        }
    }

    #[test]
    fn zero_is_a_time_only_where_it_means_at_once() {
        assert_eq!(time_or_zero("0s"), Ok(Duration::ZERO));
        assert!(time("0s").is_err());
        assert!(time("0h").is_err());
    }
}
