//! What to do about a failure, in the flags that the command has: the library knows the numbers, and no command line.

use std::error::Error as StdError;

use brenier::Error;
use brenier::gradient_flow::FlowError;
use brenier::metric::MetricError;
use brenier::transport::TransportError;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::Failure;

/// `failure` with what to do about it as its last line, where there is more to say than it says itself; `matches` are those of the whole
/// command line.
pub fn with_remedy(failure: Failure, cli: &Command, matches: &ArgMatches) -> Failure {
    let Some((name, matches)) = matches.subcommand() else { return failure };
    let Some(command) = cli.find_subcommand(name) else { return failure };
    match remedy(failure.as_ref(), command, matches) {
        Some(remedy) => format!("{failure}\n  {remedy}").into(),
        None => failure,
    }
}

fn remedy(failure: &(dyn StdError + 'static), command: &Command, matches: &ArgMatches) -> Option<String> {
    let name = command.get_name();
    match Cause::of(failure)? {
        Cause::Transport(TransportError::EpsTooSmall { eps, rounding, smallest, .. }) => {
            let single = *rounding > f64::EPSILON;
            if !has(command, "eps") {
                let enough = single && *eps >= smallest * f64::EPSILON / f64::from(f32::EPSILON);
                let precise = if enough { "use --precision f64 (cpu), or " } else { "" };
                return Some(format!(
                    "{name} takes eps from the spread of the points that it measures against, which is small compared with the distance \
                     to others: \
                     {precise}bring the clouds to one scale, and remove points that lie far from all others"
                ));
            }
            let blur = matches.value_source("blur") == Some(ValueSource::CommandLine);
            let larger = if blur { format!("--blur {:.1e}", smallest.sqrt()) } else { format!("--eps {smallest:.1e}") };
            Some(format!("use {larger} or more{}", if single { ", or --precision f64 (cpu)" } else { "" }))
        }
        Cause::Transport(TransportError::EpsTooLarge { precision, largest, .. }) => {
            let smaller =
                if has(command, "eps") { format!("use --eps {largest:.1e} or less") } else { "move the clouds apart".into() };
            Some(format!("{smaller}{}", if *precision == "f32" { ", or use --precision f64 (cpu)" } else { "" }))
        }
        Cause::Transport(TransportError::RhoTooSmall { smallest, .. }) if name == "jko" => {
            Some(format!("rho is tau here: use --tau {smallest:.1e} or more"))
        }
        Cause::Transport(TransportError::Storage) => Some("leave out --storage".into()),
        Cause::Metric(MetricError::NoSpread) if name == "evaluate" => {
            Some("brenier transport A B --eps E measures the distance to points in one place".into())
        }
        Cause::Metric(MetricError::NoSpread) => {
            Some("half of the target judges, so at least two of its points there must differ: give a larger target".into())
        }
        Cause::Flow(FlowError::NotTaken { option, schemes, .. }) => {
            Some(format!("leave --{option} out, or give --scheme {}", schemes.replace(" and ", " or ")))
        }
        Cause::Flow(FlowError::NeedsNormalTarget) => Some("give --target normal, or normal:D".into()),
        _ => None,
    }
}

/// Whether `command` has the flag `--long`.
fn has(command: &Command, long: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(long))
}

/// The innermost error of the rooms whose errors meet one another.
enum Cause<'a> {
    Transport(&'a TransportError),
    Metric(&'a MetricError),
    Flow(&'a FlowError),
}

impl<'a> Cause<'a> {
    fn of(failure: &'a (dyn StdError + 'static)) -> Option<Self> {
        let own = failure.downcast_ref::<TransportError>().map(Self::Transport);
        let own = own.or_else(|| failure.downcast_ref::<MetricError>().map(Self::Metric));
        let own = own.or_else(|| failure.downcast_ref::<FlowError>().map(Self::Flow));
        let own = own.or_else(|| match failure.downcast_ref::<Error>()? {
            Error::Transport(error) => Some(Self::Transport(error)),
            Error::Metric(error) => Some(Self::Metric(error)),
            Error::Flow(error) => Some(Self::Flow(error)),
            _ => None,
        });
        match own? {
            Self::Metric(MetricError::Transport(error)) | Self::Flow(FlowError::Transport(error)) => Some(Self::Transport(error)),
            own => Some(own),
        }
    }
}
