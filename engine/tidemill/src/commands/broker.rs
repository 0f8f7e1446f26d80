//! `tidemill broker`: a Kafka-compatible broker of one node, in the foreground.
//!
//! It has neither TLS nor passwords, so it listens on the loopback interface unless it is told, in so
//! many words, to let others in.

use crate::failure::Failure;
use crate::signals::stop_flag;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tidemill_broker::{AutoCreate, Broker, BrokerError, Config, Flush};

/// How often signals are looked for.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Where topics are kept, unless another folder is named.
pub(crate) const DATA_DEFAULT: &str = "tidemill-broker";

/// The arguments of `tidemill broker`.
#[derive(Debug, Args)]
pub(crate) struct BrokerArguments {
    /// Where to listen; port 0 is any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
    /// Let others in: without this, ADDR must be on the loopback interface.
    #[arg(long)]
    expose: bool,
    /// What clients are told to connect to, where that is not the address they have reached.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    advertise: Option<(String, u16)>,
    /// Where topics and offsets are kept.
    #[arg(long, value_name = "DIR", default_value = DATA_DEFAULT)]
    data: PathBuf,
    /// How many partitions a topic gets that doesn't say.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    partitions: u32,
    /// Refuse topics that don't exist, instead of making them.
    #[arg(long)]
    no_auto_create: bool,
    /// When records are brought to the disk.
    #[arg(long, value_enum, default_value_t = FlushArgument::Lazy)]
    flush: FlushArgument,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FlushArgument {
    /// When the operating system does it: nothing is lost if the process dies.
    Lazy,
    /// Before they are acknowledged: nothing is lost if the power fails, either.
    Always,
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
    let port = port.parse().map_err(|_| format!("'{port}' is no port"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

pub(crate) fn execute(arguments: BrokerArguments) -> Result<(), Failure> {
    check_exposure(&arguments)?;
    let stop = stop_flag()?;
    let broker = Broker::start(config(&arguments)).map_err(refused)?;
    greet(&broker, &arguments)?;
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(SIGNAL_INTERVAL);
    }
    broker.shutdown();
    Ok(())
}

fn config(arguments: &BrokerArguments) -> Config {
    Config {
        listen: arguments.listen,
        advertised: arguments.advertise.clone(),
        auto_create: if arguments.no_auto_create { AutoCreate::Off } else { AutoCreate::On },
        default_partitions: arguments.partitions,
        flush: match arguments.flush {
            FlushArgument::Lazy => Flush::Lazy,
            FlushArgument::Always => Flush::Always,
        },
        ..Config::new(&arguments.data)
    }
}

fn refused(error: BrokerError) -> Failure {
    Failure::Job(error.into())
}

/// Nobody opens a broker without a password to the world by a slip of the pen.
fn check_exposure(arguments: &BrokerArguments) -> Result<(), Failure> {
    match (arguments.listen.ip().is_loopback(), arguments.expose) {
        (true, _) => Ok(()),
        (false, true) => {
            eprintln!(
                "warning: whoever can reach {} can read, write and delete everything: there is \
                 neither TLS nor a password",
                arguments.listen
            );
            Ok(())
        }
        (false, false) => Err(Failure::CommandLine(format!(
            "{} is not on the loopback interface, and whoever can reach the broker can do \
             everything; add --expose if that is what you want",
            arguments.listen
        ))),
    }
}

/// The address goes to standard output, for scripts; the rest is for people.
fn greet(broker: &Broker, arguments: &BrokerArguments) -> Result<(), Failure> {
    let address = broker.address();
    eprintln!(
        "A Kafka-compatible broker of one node, for development and tests, keeps its topics in {}.\n\
         Ctrl-C stops it. Reach it with any Kafka client, for instance:\n  \
         kcat -b {address} -L\n  \
         echo hello | kcat -b {address} -t greetings -P\n  \
         kcat -b {address} -t greetings -C\n\
         It listens on",
        arguments.data.display()
    );
    let mut output = std::io::stdout().lock();
    writeln!(output, "{address}")?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn arguments(line: &str) -> BrokerArguments {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Broker(arguments) = cli.command else { panic!("{cli:?}") };
        arguments
    }

    #[test]
    fn only_a_flag_opens_the_broker_to_others() {
        assert!(check_exposure(&arguments("tidemill broker")).is_ok());
        assert!(check_exposure(&arguments("tidemill broker --listen [::1]:0")).is_ok());
        let open = arguments("tidemill broker --listen 0.0.0.0:9092");
        assert!(matches!(check_exposure(&open), Err(Failure::CommandLine(_))));
        let exposed = arguments("tidemill broker --listen 0.0.0.0:9092 --expose");
        assert!(check_exposure(&exposed).is_ok());
    }

    #[test]
    fn an_advertised_address_is_a_host_and_a_port() {
        let advertised = |line: &str| arguments(line).advertise.unwrap();
        let named = advertised("tidemill broker --advertise kafka:9092");
        assert_eq!(named, ("kafka".to_owned(), 9092));
        let numbered = advertised("tidemill broker --advertise [::1]:9092");
        assert_eq!(numbered, ("::1".to_owned(), 9092));
        assert!(host_and_port("kafka").is_err());
    }
}
