//! The fake brokers' side of a login: `PLAIN`, and SCRAM with SHA-256 as RFC 5802 has it for the server.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// One connection's way in.
pub(super) struct Door {
    user: Option<(&'static str, &'static str)>,
    mechanism: String,
    /// Of SCRAM: the client's first message, and what was said to it.
    begun: Option<(String, String)>,
    is_open: bool,
}

impl Door {
    pub(super) const OFFERED: [&'static str; 2] = ["PLAIN", "SCRAM-SHA-256"];

    pub(super) fn of(user: Option<(&'static str, &'static str)>) -> Self {
        Self { user, mechanism: String::new(), begun: None, is_open: user.is_none() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn offers(&mut self, mechanism: &str) -> bool {
        mechanism.clone_into(&mut self.mechanism);
        Self::OFFERED.contains(&mechanism)
    }

    /// What is said to a message; nothing to who is not let in.
    pub(super) fn hear(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (user, password) = self.user?;
        let message = String::from_utf8(message.to_vec()).unwrap();
        if self.mechanism == "PLAIN" {
            self.is_open = message == format!("\0{user}\0{password}");
            return self.is_open.then(Vec::new);
        }
        let Some((first, challenge)) = self.begun.take() else {
            let first = message.strip_prefix("n,,").unwrap();
            let (name, nonce) = first.split_once(",r=").unwrap();
            if name != format!("n={user}") {
                return None;
            }
            let challenge = format!("r={nonce}+ours,s={},i=4096", STANDARD.encode("salt"));
            self.begun = Some((first.to_owned(), challenge.clone()));
            return Some(challenge.into());
        };
        let (last, proof) = message.split_once(",p=").unwrap();
        let signed = format!("{first},{challenge},{last}");
        let mut salted = [0; 32];
        let (algorithm, rounds) = (pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::new(4096).unwrap());
        pbkdf2::derive(algorithm, rounds, b"salt", password.as_bytes(), &mut salted);
        let keyed = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        let stored = digest::digest(&digest::SHA256, keyed(&salted, "Client Key").as_ref());
        let signature = keyed(stored.as_ref(), &signed);
        let proof = STANDARD.decode(proof).unwrap();
        // The proof is the key under the signature, and who has the key knows the password.
        let key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(proof, sign)| proof ^ sign).collect();
        self.is_open = digest::digest(&digest::SHA256, &key).as_ref() == stored.as_ref();
        let verifier = keyed(keyed(&salted, "Server Key").as_ref(), &signed);
        self.is_open.then(|| format!("v={}", STANDARD.encode(verifier)).into_bytes())
    }
}
