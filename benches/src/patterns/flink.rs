//! Apache Flink as a contestant: scripts in one JVM, of which the first warms it up.

use crate::process::{Usage, clear, measure};
use anyhow::{Context, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = include_str!("../../patterns/Flink.java");

/// Flink, ready to run.
#[derive(Debug)]
pub(super) struct Flink {
    class_path: String,
    directory: PathBuf,
}

impl Flink {
    /// Compiles what runs it. `jars` is a folder: `lib` of Flink's distribution, or `pyflink/lib`
    /// of the wheel `apache-flink-libraries`. Files are kept in `directory`.
    pub(super) fn install(jars: &Path, directory: &Path) -> anyhow::Result<Self> {
        let class_path = format!("{}:{}/*", directory.display(), jars.display());
        let program = directory.join("Flink.java");
        fs::write(&program, PROGRAM)?;
        let mut compiler = Command::new("javac");
        compiler.args(["-cp", &class_path, "-d"]).arg(directory).arg(program);
        measure(&mut compiler).context("compiling Flink.java: are these Flink's jars?")?;
        Ok(Flink { class_path, directory: directory.to_owned() })
    }

    /// Runs scripts one after the other: what each used.
    pub(super) fn run<const N: usize>(&self, scripts: &[String; N]) -> anyhow::Result<[Usage; N]> {
        let times = self.directory.join("flink.times");
        clear(&times)?;
        let mut command = Command::new("java");
        command.args(["-cp", &self.class_path, "Flink"]).arg(&times);
        for (number, script) in scripts.iter().enumerate() {
            let path = self.directory.join(format!("flink-{number}.sql"));
            fs::write(&path, script)?;
            command.arg(path);
        }
        let peak_bytes = measure(&mut command)?.peak_bytes;
        let lines = fs::read_to_string(&times)?;
        let usages: Vec<Usage> =
            lines.lines().map(|line| usage(line, peak_bytes)).collect::<Result<_, _>>()?;
        let count = usages.len();
        let usages: Result<[Usage; N], _> = usages.try_into();
        ensure!(usages.is_ok(), "Flink told of {count} scripts, not of {N}");
        usages.ok().context("as many as were asked for")
    }
}

/// What a line says: nanoseconds of the processor and of the clock.
fn usage(line: &str, peak_bytes: u64) -> anyhow::Result<Usage> {
    let (cpu, wall) = line.split_once(' ').context("a line of two times")?;
    let (cpu, wall) = (Duration::from_nanos(cpu.parse()?), Duration::from_nanos(wall.parse()?));
    Ok(Usage { wall, cpu, peak_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_two_times() {
        let usage = usage("1500 2000000", 7).unwrap();
        assert_eq!((usage.cpu.as_nanos(), usage.wall.as_millis(), usage.peak_bytes), (1500, 2, 7));
        assert!(super::usage("1500", 7).is_err());
    }
}
