//! A PostgreSQL server of its own for a test.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The server refuses to run as root: then it runs as nobody.
const NOBODY: u32 = 65_534;

/// A running server, stopped when dropped.
pub(super) struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// Starts a server. `None` where PostgreSQL is not installed, which is an error in CI.
    pub(super) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is missing");
            eprintln!("skipped: PostgreSQL is not installed");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
        }
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let mut postgres = Postgres { folder, programs, port, server: None };
        let data = postgres.folder.path().join("data");
        let made = postgres
            .command("initdb")
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=tidemill",
                "--encoding=UTF8",
                "--pgdata",
            ])
            .arg(&data)
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = postgres.command("postgres");
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "fsync=off"]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        postgres.server = Some(server.spawn().expect("postgres starts"));
        postgres.wait();
        Some(postgres)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() || !self.try_execute("SELECT 1")
        {
            assert!(Instant::now() < deadline, "PostgreSQL did not start");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_execute(&self, sql: &str) -> bool {
        let mut psql = self.command("psql");
        let url = format!("postgresql://tidemill@127.0.0.1:{}/postgres", self.port);
        psql.args(["--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-c", sql, &url]);
        psql.output().is_ok_and(|output| output.status.success())
    }

    /// Executes statements.
    pub(super) fn execute(&self, sql: &str) {
        assert!(self.try_execute(sql), "{sql}");
    }

    /// Where it is, as a table's `url`.
    pub(super) fn url(&self) -> String {
        format!("jdbc:postgresql://127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id starts").stdout;
    id.trim_ascii() == b"0"
}

/// The folder of PostgreSQL's programs: on the path, or where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path);
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    // Where links lead to, all of them are together.
    let initdb = on_path.chain(debian).find_map(|folder| folder.join("initdb").canonicalize().ok());
    Some(initdb?.parent()?.to_owned())
}
