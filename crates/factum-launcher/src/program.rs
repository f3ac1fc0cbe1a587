//! Programs of this machine: where they are, as whom they run, and what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// A user of this machine. Servers of databases refuse to run as root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// Who runs a server: the named user if we are root, or else we ourselves (`None`).
    pub(crate) fn instead_of_root(name: &str, package: &'static str) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").map_err(Error::io("read /etc/passwd"))?;
        let user = users.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            match fields.as_slice() {
                [user, _, uid, gid, ..] if *user == name => {
                    Some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
                }
                _ => None,
            }
        });
        user.map(Some).ok_or(Error::Missing { program: format!("user `{name}`"), package })
    }
}

/// Finds `name` in `PATH`, then in `folders`.
pub(crate) fn find(name: &str, folders: &[PathBuf], package: &'static str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let searched = std::env::split_paths(&path).chain(folders.iter().cloned());
    let mut files = searched.chain(["/usr/sbin".into(), "/sbin".into()]).map(|folder| folder.join(name));
    files.find(|file| file.is_file()).ok_or(Error::Missing { program: format!("`{name}`"), package })
}

/// A command with a bare environment, as `user` if there is one.
pub(crate) fn command(program: &Path, user: Option<User>) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("LC_ALL", "C.UTF-8");
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// Runs a command to its end, in `folder`, and gives what it wrote to its standard output.
pub(crate) async fn run(mut command: Command, folder: &Path) -> Result<String> {
    let what = command.get_program().display().to_string();
    command.current_dir(folder).stdin(std::process::Stdio::null());
    let (asked, failed) = (format!("run {what}"), format!("wait for {what}"));
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .map_err(|error| Error::io(failed)(std::io::Error::other(error)))?
        .map_err(Error::io(asked))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let output_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let written = output_of(&output.stdout) + &output_of(&output.stderr);
    Err(Error::Failed { what, status: output.status, output: written })
}
