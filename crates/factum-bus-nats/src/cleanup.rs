//! Removing everything of a namespace: streams with their events and consumers, and what the processes agreed on.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;

use crate::inflight::InFlight;
use crate::names::Names;
use crate::options::Options;
use crate::server::{STREAM_NOT_FOUND, Server};
use crate::{Error, connection};

/// Removes it, and returns how many streams there were.
pub(crate) async fn clean_up(options: &Options) -> Result<usize, Error> {
    let names = Names::new(&options.namespace, options.names.clone())?;
    let inbox = format!("_INBOX.{:016x}", crate::unique());
    let in_flight = Arc::new(InFlight::new(&inbox, 1));
    let client = connection::connect(options, &inbox, &in_flight, watch::channel(0).0).await?;
    let server = Server::new(client, options.request_deadline);
    let listed = server.streams(&names.everything()).await;
    let mut streams = listed.map_err(|failure| failure.over("listing the streams of the namespace"))?;
    let prefix = names.stream("");
    streams.retain(|stream| stream.starts_with(&prefix));
    let removed = streams.len();
    streams.push(format!("KV_{}", names.bucket()));
    for stream in streams {
        match server.ask(format!("STREAM.DELETE.{stream}"), &json!({})).await {
            Err(failure) if !failure.is(STREAM_NOT_FOUND) => {
                return Err(failure.over(&format!("removing stream {stream}")));
            }
            _ => {}
        }
    }
    Ok(removed)
}
