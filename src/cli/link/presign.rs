//! `sluice link presign`: the signed URL of a websocket, for other programs and for comparison.
//!
//! Without `--reveal` it masks what logs in.

use clap::Args;
use serde_json::json;

use super::named;
use crate::clock;
use crate::command::context::printed;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::config::Config;
use crate::domain::link::LinkName;
use crate::link::aws::sigv4::redacted;
use crate::link::settings::LinkAuth;
use crate::link::visit;

/// Which URL.
#[derive(Clone, Debug, Args)]
pub struct PresignArgs {
    /// The link
    name: LinkName,
    /// Print the signature and the session token as they are
    #[arg(long)]
    reveal: bool,
}

/// Prints the URL.
pub async fn run(
    args: PresignArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let link = named::one(config, &args.name).await?;
    let login = visit::login(&link);
    let target = login.target(&link, 0).await;
    let target = target.map_err(|error| Failure::new(Exit::Negative, error.to_string()))?;
    let is_signed = matches!(link.auth, LinkAuth::SigV4 { .. } | LinkAuth::Cognito { .. });
    let Some(request) = target.websocket.filter(|_| is_signed) else {
        return Err(Failure::usage(format!(
            "link {} does not log in with a signed URL: only sigv4 and cognito do",
            link.name
        )));
    };
    let scheme = if link.transport.is_encrypted() { "wss" } else { "ws" };
    let path = if args.reveal {
        request.path_and_query.expose().to_owned()
    } else {
        redacted(&request.path_and_query)
    };
    let url = format!("{scheme}://{}{path}", request.host);
    let value = json!({
        "link": link.name.as_str(), "url": url, "masked": !args.reveal,
        "signed_at": clock::now().to_string(),
    });
    let lines = [("URL", url.clone()), ("Signed", clock::now().to_string())];
    printed(fields(output, &value, &lines))
}
