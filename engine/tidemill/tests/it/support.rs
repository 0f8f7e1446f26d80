//! What the tests of the binary share.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The `tidemill` binary.
pub fn tidemill() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command to its end; one that hangs is killed and fails the test.
pub fn finish(mut command: Command, within: Duration) -> Result<Output, String> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("can't start: {e}"))?;
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|p| Box::new(p) as Box<_>));
    let stderr = read(child.stderr.take().map(|p| Box::new(p) as Box<_>));
    let deadline = Instant::now() + within;
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                let text = stderr.join().unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                return Err(format!("still running after {within:?}; it said: {text}"));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    Ok(Output {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}
