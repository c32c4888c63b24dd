//! `sluice console`: prints a link that signs the user in at the console, once, within a minute.
//!
//! The code of the link is in Postgres as a hash, so every replica accepts it. It needs no daemon to
//! answer: it only writes the row.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use serde_json::json;

use super::registry::operator::read_role;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::config::Config;
use crate::domain::caller::CallerRole;
use crate::domain::ids::TenantId;
use crate::domain::operator::Person;
use crate::registry::operators::{self, LINK_SECONDS, OperatorChangeError};
use crate::store::console::operators::OperatorError;

/// Whom the link signs in, and where.
#[derive(Clone, Debug, Args)]
pub struct ConsoleArgs {
    /// What the link permits: viewer, operator or admin
    #[arg(long, default_value = "admin", value_parser = read_role)]
    role: CallerRole,
    /// The only tenant that the link permits to read and change; by default all tenants
    #[arg(long)]
    tenant: Option<TenantId>,
    /// The address at which your browser reaches the console, instead of that of the settings
    #[arg(long, value_name = "BASE")]
    print_url: Option<String>,
}

/// Runs the command.
pub async fn run(
    args: ConsoleArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    if !config.console.is_on {
        return Err(Failure::new(
            Exit::Config,
            "CONSOLE is 0: the daemon serves no console; set it to 1",
        ));
    }
    let context = CommandContext::open(config).await?;
    let ConsoleArgs { role, tenant, print_url } = args;
    let person = Person { name: context.user().to_owned(), role, tenant };
    let code = operators::make_link(context.action_context(), &person).await.map_err(explain)?;
    let base = print_url.or_else(|| config.console.url.clone());
    let base = base.unwrap_or_else(|| format!("http://{}", reachable(config.http.api_bind)));
    let url = format!("{}/console/link?code={code}", base.trim_end_matches('/'));
    let value =
        json!({ "url": url, "name": person.name, "role": role.label(), "seconds": LINK_SECONDS });
    let lines = [
        ("Link", url),
        ("Signs in", format!("{} as {role}, once, within {LINK_SECONDS} s", person.name)),
    ];
    printed(fields(output, &value, &lines))
}

/// An address of this machine for a listener on all addresses.
pub(super) fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

// === private helpers ===

fn explain(error: OperatorChangeError) -> Failure {
    match error {
        OperatorChangeError::Store(OperatorError::Outage(trouble)) => outage(&trouble),
        OperatorChangeError::Store(error) => Failure::usage(error.to_string()),
        OperatorChangeError::Token(error) => Failure::new(Exit::Internal, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_at_the_loopback() {
        for (bind, expected) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            assert_eq!(reachable(bind.parse().unwrap()).to_string(), expected);
        }
    }
}
