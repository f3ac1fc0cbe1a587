//! RabbitMQ, with a name service of Erlang (`epmd`) of its own: the machine's would outlive it.

use std::fs::{self, Permissions};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::ping::Protocol;
use crate::port::Port;
use crate::processes::Signal;
use crate::program;
use crate::server::{Recipe, Server};

const PACKAGE: &str = "rabbitmq-server";
/// Debian's commands in `PATH` work only as its own user, in its own folder. These here do not mind.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// A private RabbitMQ with the user `guest`, password `guest`, the virtual host `/` and no plugins.
///
/// ```no_run
/// # async fn test() -> factum_launcher::Result<()> {
/// use factum_launcher::RabbitMq;
///
/// let rabbitmq = RabbitMq::start_with(&[("consumer_timeout", "5000")]).await?;
/// rabbitmq.ctl(&["set_vm_memory_high_watermark", "0"]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RabbitMq {
    server: Server,
    environment: Environment,
}

impl RabbitMq {
    /// Starts one with its own defaults: some seconds.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings, as in `rabbitmq.conf`.
    ///
    /// # Errors
    /// It is not installed, or does not start; a setting that it does not know is shown in the error.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let program = program::find("rabbitmq-server", &[], PACKAGE).map(|_| Path::new(SCRIPTS))?;
        let epmd = program::find("epmd", &[], "erlang-base")?;
        let (port, names, nodes) = (Port::free()?, Port::free()?, Port::free()?);
        let folder = Folder::new(None)?;
        let environment = Environment::new(folder.path(), [&port, &names, &nodes]);
        write(folder.path(), settings).map_err(Error::io("write the configuration of RabbitMQ"))?;
        let mut server = environment.command(&program.join("rabbitmq-server"));
        server.env("detached", "1"); // the script gives way to the server instead of watching it
        let mut name_service = environment.command(&epmd);
        name_service.args(["-address", "127.0.0.1", "-port"]).arg(names.number().to_string());
        let recipe = Recipe {
            name: "RabbitMQ",
            url: format!("amqp://guest:guest@127.0.0.1:{}/%2f", port.number()),
            protocol: Protocol::Amqp,
            graceful: Signal::TERM,
            commands: vec![name_service, server],
            stale: &[],
        };
        let server = Server::start(recipe, port, vec![names, nodes], folder).await?;
        Ok(Self { server, environment })
    }

    /// Runs `rabbitmqctl` with these arguments and gives what it printed. It takes about a second.
    ///
    /// # Errors
    /// It ends with a failure; what it wrote is in the error.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.environment.command(&Path::new(SCRIPTS).join("rabbitmqctl"));
        command.args(arguments);
        program::run(command, self.server.folder()).await
    }
}

/// The files that the server wants to find.
fn write(folder: &Path, settings: &[(&str, &str)]) -> std::io::Result<()> {
    let lines: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    fs::write(folder.join("rabbitmq.conf"), lines)?;
    fs::write(folder.join("plugins"), "[].\n")?;
    fs::write(folder.join("environment"), "")?;
    // The folder is closed to others, so the secret may be known.
    let cookie = folder.join(".erlang.cookie");
    fs::write(&cookie, "FACTUM")?;
    fs::set_permissions(cookie, Permissions::from_mode(0o400))
}

/// What the server and its tools must agree on.
#[derive(Debug)]
struct Environment(Vec<(&'static str, String)>);

impl Environment {
    fn new(folder: &Path, [port, names, nodes]: [&Port; 3]) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        Self(vec![
            ("HOME", at("")),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("ERL_EPMD_PORT", names.number().to_string()),
            ("ERL_FLAGS", "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}".into()),
            ("RABBITMQ_NODENAME", format!("factum-{}@localhost", port.number())),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODE_PORT", port.number().to_string()),
            ("RABBITMQ_DIST_PORT", nodes.number().to_string()),
            ("RABBITMQ_CONF_ENV_FILE", at("environment")),
            ("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
            ("RABBITMQ_MNESIA_BASE", at("data")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", at("generated")),
            ("RABBITMQ_SCHEMA_DIR", at("schema")),
            ("RABBITMQ_PID_FILE", at("pid")),
            ("RABBITMQ_LOG_BASE", at("logs")),
            ("RABBITMQ_LOGS", "-".into()),
        ])
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = program::command(program, None);
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Deref for RabbitMq {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for RabbitMq {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
