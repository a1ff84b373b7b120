//! `zstd -3 | openssl dgst -sha256` of a file: the least that has to be done with an archive.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::results::Piped;

/// Reads the file once before, so that it is in the page cache. bash prints the time, and the CPU time of all programs of the pipe.
const SCRIPT: &str =
    "cat \"$0\" >/dev/null; TIMEFORMAT='%R %U %S'; time zstd -3 -q -c \"$0\" | openssl dgst -sha256 >/dev/null";

pub(super) fn measure(path: &Path) -> Result<Piped, Box<dyn Error>> {
    let output = Command::new("bash").args(["-o", "pipefail", "-c", SCRIPT]).arg(path).output()?;
    let text = String::from_utf8(output.stderr)?;
    if !output.status.success() {
        return Err(format!("zstd or openssl failed: {text}").into());
    }
    let seconds = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [time, user, system] = seconds.try_into().map_err(|_| format!("bash printed `{text}`"))?;
    Ok(Piped { time: Duration::from_secs_f64(time), cpu: Duration::from_secs_f64(user + system) })
}
