//! Connecting, and noticing that a connection is gone: what it had in flight is unknown from that moment on.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Error;
use crate::inflight::InFlight;
use crate::options::{Credentials, Options, without_secret};

/// How often the server is asked whether it is still there. Two silences end the connection.
const PING: Duration = Duration::from_secs(5);
/// The longest pause between two tries to connect again.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Connects; from then on the client connects again by itself, for ever.
pub(crate) async fn connect(
    options: &Options,
    inbox: &str,
    in_flight: &Arc<InFlight>,
    connected: watch::Sender<u64>,
) -> Result<Client, Error> {
    let server = without_secret(&options.url);
    let at_loss = Arc::clone(in_flight);
    let mut connect = ConnectOptions::new()
        .name(&options.name)
        .ping_interval(PING)
        .connection_timeout(options.request_deadline)
        .request_timeout(Some(options.request_deadline))
        .custom_inbox_prefix(inbox)
        .skip_subject_validation(true)
        .subscription_capacity(1 << 16)
        .reconnect_delay_callback(|tries| {
            let exponent = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
            if tries <= 1 { Duration::ZERO } else { PAUSE_MAX.min(Duration::from_millis(1 << exponent)) }
        })
        .event_callback(move |event| {
            if matches!(event, Event::Disconnected | Event::Closed) {
                at_loss.give_up(None, "the connection was lost before the server answered");
            }
            if matches!(event, Event::Connected) {
                connected.send_modify(|connections| *connections += 1);
            }
            std::future::ready(())
        });
    let refused = |source: factum::BoxError| Error::Connect { server: server.clone(), source };
    connect = match &options.credentials {
        None => connect,
        Some(Credentials::User(user, password)) => connect.user_and_password(user.clone(), password.clone()),
        Some(Credentials::Token(token)) => connect.token(token.clone()),
        Some(Credentials::File(file)) => {
            connect.credentials_file(file).await.map_err(|error| refused(error.into()))?
        }
    };
    if let Some(ca) = &options.ca {
        connect = connect.add_root_certificates(ca.clone());
    }
    let addresses: Vec<String> = options.url.split(',').map(|url| plain_scheme(url.trim())).collect();
    match timeout(options.request_deadline * 2, connect.connect(addresses)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(refused(error.into())),
        Err(_) => {
            Err(Error::Late { what: format!("connecting to {server}"), within: options.request_deadline * 2 })
        }
    }
}

/// What this library's URLs are to the client.
fn plain_scheme(url: &str) -> String {
    match url.split_once("://") {
        Some(("natss" | "nats+tls", rest)) => format!("tls://{rest}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_has_several_names() {
        assert_eq!(plain_scheme("natss://a:1"), "tls://a:1");
        assert_eq!(plain_scheme("nats+tls://a:1"), "tls://a:1");
        assert_eq!(plain_scheme("nats://a:1"), "nats://a:1");
    }
}
