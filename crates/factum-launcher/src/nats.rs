//! NATS with JetStream.

use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::ping::Protocol;
use crate::port::Port;
use crate::processes::Signal;
use crate::program;
use crate::server::{Recipe, Server};

const PACKAGE: &str = "nats-server";

/// A private NATS server. JetStream is on, and its files are in the folder.
///
/// ```no_run
/// # async fn test() -> factum_launcher::Result<()> {
/// use factum_launcher::Nats;
///
/// let mut nats = Nats::start().await?;
/// println!("{}", nats.url());
/// nats.kill()?;
/// nats.start_again().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Nats(Server);

impl Nats {
    /// Starts one with its own defaults.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings of its configuration file, such as `("max_payload", "1MB")`. Those of JetStream
    /// begin with its name: `("jetstream.max_file_store", "16MB")`.
    ///
    /// # Errors
    /// It is not installed, or does not start; a setting that it does not know is shown in the error.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let program = program::find("nats-server", &[], PACKAGE)?;
        let port = Port::free()?;
        let folder = Folder::new(None)?;
        let file = folder.path().join("nats.conf");
        let store = folder.path().join("jetstream");
        let text = configuration(port.number(), &store.display().to_string(), settings);
        std::fs::write(&file, text).map_err(Error::io("write the configuration of NATS"))?;
        let mut command = program::command(&program, None);
        command.arg("-c").arg(&file);
        let recipe = Recipe {
            name: "NATS",
            url: format!("nats://127.0.0.1:{}", port.number()),
            protocol: Protocol::Nats,
            graceful: Signal::TERM,
            commands: vec![command],
            stale: &[],
        };
        Ok(Self(Server::start(recipe, port, Vec::new(), folder).await?))
    }
}

fn configuration(port: u16, store: &str, settings: &[(&str, &str)]) -> String {
    let mut text = format!("host: 127.0.0.1\nport: {port}\n");
    let mut jetstream = format!("  store_dir: \"{store}\"\n");
    for (name, value) in settings {
        // Writing to a string cannot fail.
        let _ = match name.strip_prefix("jetstream.") {
            Some(name) => writeln!(jetstream, "  {name}: {value}"),
            None => writeln!(text, "{name}: {value}"),
        };
    }
    text + "jetstream {\n" + &jetstream + "}\n"
}

impl Deref for Nats {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl DerefMut for Nats {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}
