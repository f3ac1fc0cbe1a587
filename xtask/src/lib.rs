//! Automation of this repository, in Rust, so that it needs nothing but cargo. It builds nothing, downloads
//! nothing and changes no file: it only reads the sources and says what is out of place.

pub mod tidy;

use std::path::{Path, PathBuf};

/// The root of this repository: the folder above this crate.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
