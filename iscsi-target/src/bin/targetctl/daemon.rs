//! Finding the daemon and asking it.

use std::io::{self, Write};

use iscsi_target::daemon::config::{Config, HeadName};
use iscsi_target::daemon::control::{Client, ClientError, Request, Response};

use crate::Global;
use crate::failure::Failure;

/// Connect to the head that is asked for, or to the only one that answers.
pub(crate) fn connect(global: &Global) -> Result<Client, Failure> {
    let config = global.load()?;
    if let Some(name) = global.head {
        let Some(head) = config.head(name) else {
            return Err(Failure::Usage(format!(
                "{} has no head {name}; it is a single head, a",
                global.config.display()
            )));
        };
        return Client::connect(&head.control).map_err(|error| unreachable(&[(name, error)]));
    }
    connect_to_any(&config)
}

fn connect_to_any(config: &Config) -> Result<Client, Failure> {
    let mut answering = Vec::new();
    let mut silent = Vec::new();
    for (name, head) in &config.heads {
        match Client::connect(&head.control) {
            Ok(client) => answering.push(client),
            Err(error) => silent.push((*name, error)),
        }
    }
    match (answering.pop(), answering.pop()) {
        (Some(client), None) => Ok(client),
        (None, _) => Err(unreachable(&silent)),
        (Some(_), Some(_)) => {
            Err(Failure::Usage("both heads answer on this machine; say --head a or --head b".to_owned()))
        }
    }
}

fn unreachable(silent: &[(HeadName, ClientError)]) -> Failure {
    let kind = |error: &ClientError| match error {
        ClientError::Unreachable { source, .. } => Some(source.kind()),
        _ => None,
    };
    let denied = silent.iter().any(|(_, error)| kind(error) == Some(io::ErrorKind::PermissionDenied));
    let advice = if denied {
        "run targetctl as root"
    } else {
        "see whether it runs with `systemctl status twinhead`, or run targetctl on the machine of that head"
    };
    let heads: Vec<String> = silent.iter().map(|(name, error)| format!("head {name}: {error}")).collect();
    Failure::Unreachable(format!("{}; {advice}", heads.join("; ")))
}

/// Ask for something to be done, and say what was done.
pub(crate) fn act(request: &Request, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    match connect(global)?.ask(request)? {
        Response::Done(message) => Ok(writeln!(out, "{message}")?),
        Response::Error(error) => Err(Failure::failed(error)),
        Response::Status(_) => Err(Failure::failed("the daemon answered with its status, which was not asked for")),
    }
}
