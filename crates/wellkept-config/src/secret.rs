//! Secrets that stand elsewhere: in files of their own, and in what systemd hands to a service. Read within bounds.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use secrecy::SecretString;

use crate::diagnostics::{codes, escaped, quoted};
use crate::document::read_regular;
use crate::named::NamedFiles;
use crate::section::Section;

/// The largest file that a secret is read from: 64 KiB.
pub const MAX_SECRET_BYTES: usize = 64 << 10;

/// What names the folder of a service's credentials (systemd.exec(5), "Credentials").
pub(crate) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// What a value begins with that names a credential instead of a file.
const CREDENTIAL: &str = "credential:";

impl Section<'_> {
    /// A secret under `key`, in one of three ways: as its value, as the path of a file that holds it under `key_file`,
    /// or as the name of a systemd credential under `key_credential`. `None` when there is none of them, or when it is
    /// wrong, which is reported; two of them are in error.
    ///
    /// A file is a regular one of at most [`MAX_SECRET_BYTES`], in UTF-8, whose last newline does not belong to the
    /// secret; it must not be empty. `key_file: credential:NAME` is a credential too. Credentials are in
    /// `$CREDENTIALS_DIRECTORY` (systemd.exec(5)). Blocks on the file system.
    ///
    /// ```
    /// use wellkept_config::Document;
    /// use wellkept_config::secrecy::ExposeSecret as _;
    ///
    /// let document = Document::parse("app.yaml", "password: hunter2").unwrap();
    /// let password = document.read(|section| section.secret("password")).unwrap();
    /// assert_eq!(password.expose_secret(), "hunter2");
    /// assert!(!format!("{password:?}").contains("hunter2"));
    /// ```
    pub fn secret(&mut self, key: &'static str) -> Option<SecretString> {
        let (key_file, key_credential) = (suffixed(key, "_file"), suffixed(key, "_credential"));
        let value = self.optional::<SecretString>(key);
        let file = self.optional::<PathBuf>(key_file);
        let credential = self.optional::<String>(key_credential);
        let given: Vec<_> = [key, key_file, key_credential].into_iter().filter(|key| self.has(key)).collect();
        if let [first, second, ..] = given[..] {
            let message = format!("{} is there already: take one of the two", quoted(first));
            self.report(self.position_of(second), codes::DUPLICATE_KEY, message);
            return None;
        }
        let (at, read) = match (file, credential) {
            (Some(path), _) => (key_file, self.read_secret(&path)),
            (_, Some(name)) => (key_credential, self.read_credential(&name)),
            (None, None) => return value,
        };
        match read {
            Ok(secret) if secret.is_empty() => {
                self.report(self.position_of(at), codes::RANGE, "the file of the secret is empty");
                None
            }
            Ok(secret) => Some(SecretString::from(secret)),
            Err((code, message)) => {
                self.report(self.position_of(at), code, message);
                None
            }
        }
    }

    fn read_secret(&self, path: &Path) -> Result<String, Unread> {
        read_secret(&self.resolved(path)?, &mut self.named().borrow_mut())
    }

    fn read_credential(&self, name: &str) -> Result<String, Unread> {
        read_credential(name, self.credentials(), &mut self.named().borrow_mut())
    }

    /// The path as it is, or that of the credential that it names.
    pub(crate) fn resolved(&self, path: &Path) -> Result<PathBuf, Unread> {
        match path.to_str().and_then(|path| path.strip_prefix(CREDENTIAL)) {
            Some(name) => credential(name, self.credentials()),
            None => Ok(path.to_owned()),
        }
    }
}

/// A stable code and a message.
pub(crate) type Unread = (&'static str, String);

/// What a file holds, without its last newline. It is noted among those `named`.
pub(crate) fn read_secret(path: &Path, named: &mut NamedFiles) -> Result<String, Unread> {
    named.note(path);
    let shown = format!("`{}`", escaped(&path.display().to_string(), 400));
    let bytes = read_regular(path, MAX_SECRET_BYTES + 1).map_err(|error| {
        let code = if error.kind() == io::ErrorKind::NotFound { codes::NOT_FOUND } else { codes::UNREADABLE };
        (code, format!("the file {shown} can't be read: {error}"))
    })?;
    if bytes.len() > MAX_SECRET_BYTES {
        return Err((
            codes::TOO_LARGE,
            format!("too large: the file {shown} holds more than {MAX_SECRET_BYTES} bytes"),
        ));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| (codes::ENCODING, format!("the file {shown} is not UTF-8")))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// What systemd hands to the service under this name, in the folder that it names.
pub(crate) fn read_credential(name: &str, folder: Option<&Path>, named: &mut NamedFiles) -> Result<String, Unread> {
    read_secret(&credential(name, folder)?, named)
}

/// The file of a credential.
fn credential(name: &str, folder: Option<&Path>) -> Result<PathBuf, Unread> {
    // A name is that of a file in the folder, and leads nowhere else.
    let is_name = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']) && name.len() <= 255;
    if !is_name {
        return Err((codes::RANGE, format!("{} is no name of a credential", quoted(name))));
    }
    let Some(folder) = folder else {
        let message = format!("no credential {}: ${CREDENTIALS_DIRECTORY} is not set", quoted(name));
        return Err((codes::NOT_FOUND, message));
    };
    Ok(folder.join(name))
}

/// The key with a suffix. Keys stand in a program's text, so that there are only so many: each is made once and kept.
fn suffixed(key: &'static str, suffix: &str) -> &'static str {
    static MADE: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let wanted = format!("{key}{suffix}");
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = made.get(wanted.as_str()) {
        return known;
    }
    let wanted: &'static str = wanted.leak();
    made.insert(wanted);
    wanted
}

#[cfg(test)]
mod tests;
