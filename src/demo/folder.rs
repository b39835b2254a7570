//! The demo's folder: made for one run, gone with it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Removed when dropped, with all that is in it: there are private keys among it.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one below the system's folder for temporary files, closed to other users.
    pub fn make() -> io::Result<Folder> {
        let random = Uuid::new_v4().simple().to_string();
        let name = format!("sallyport-demo-{}", random.get(..8).unwrap_or(&random));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: {} is left behind: {why}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_folder_is_private_and_goes_with_its_owner() {
        let folder = Folder::make().unwrap();
        let path = folder.path().to_owned();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
