//! A login in which both sides prove that they know the password and neither sends it (SCRAM, RFC 5802 and 7677).

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use secrecy::{ExposeSecret, SecretString};

/// Kafka allows 16,384. A server that asks for more would have this side compute for seconds.
const MOST_ITERATIONS: u32 = 100_000;

/// The hash that a login is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// A login that has begun.
pub(super) struct Scram {
    hash: Hash,
    nonce: String,
    /// The first message without its header.
    first: String,
}

impl Scram {
    /// Begins with a nonce of the system's randomness; nothing when there is none.
    pub(super) fn begin(hash: Hash, user: &str) -> Option<Self> {
        let mut random = [0; 24];
        SystemRandom::new().fill(&mut random).ok()?;
        Some(Self::with_nonce(hash, user, STANDARD.encode(random)))
    }

    fn with_nonce(hash: Hash, user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        Self { hash, nonce, first }
    }

    /// What is said first.
    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first).into_bytes()
    }

    /// What is said to the server's challenge, and what it then has to prove itself with. Nothing when the challenge
    /// is none.
    pub(super) fn answer(&self, challenge: &[u8], password: &SecretString) -> Option<(Vec<u8>, Proof)> {
        let challenge = std::str::from_utf8(challenge).ok()?;
        let part = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let (nonce, salt) = (part("r")?, STANDARD.decode(part("s")?).ok()?);
        let iterations = part("i")?.parse().ok().filter(|count| *count <= MOST_ITERATIONS).and_then(NonZeroU32::new)?;
        // It has to go on from ours, or the answer to another login could be played again.
        nonce.strip_prefix(&self.nonce).filter(|own| !own.is_empty())?;

        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), iterations, &salt, password.expose_secret().as_bytes(), &mut salted);
        let salted = hmac::Key::new(self.hash.hmac(), &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let last = format!("c=biws,r={nonce}");
        let all = format!("{},{challenge},{last}", self.first);
        let signature = hmac::sign(&hmac::Key::new(self.hash.hmac(), stored_key.as_ref()), all.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        let expected = Proof { key: hmac::Key::new(self.hash.hmac(), server_key.as_ref()), signed: all };
        Some((format!("{last},p={}", STANDARD.encode(proof)).into_bytes(), expected))
    }
}

/// What only a server that knows the password can sign.
pub(super) struct Proof {
    key: hmac::Key,
    signed: String,
}

impl Proof {
    pub(super) fn is_given_by(&self, last: &[u8]) -> bool {
        let verifier = std::str::from_utf8(last).ok().and_then(|last| last.split(',').next()?.strip_prefix("v="));
        let signature = verifier.and_then(|verifier| STANDARD.decode(verifier).ok());
        signature.is_some_and(|signature| hmac::verify(&self.key, self.signed.as_bytes(), &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn begun() -> Scram {
        Scram::with_nonce(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".to_owned())
    }

    #[test]
    fn the_example_of_the_standard_comes_out() {
        let scram = begun();
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (answer, proof) = scram.answer(CHALLENGE.as_bytes(), &"pencil".into()).unwrap();
        assert_eq!(
            String::from_utf8(answer).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(proof.is_given_by(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!proof.is_given_by(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="));
        assert!(!proof.is_given_by(b"e=other-error"));
    }

    #[test]
    fn a_challenge_that_is_not_to_this_login_or_asks_for_too_much_is_refused() {
        for challenge in [
            "",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            &CHALLENGE.replace("4096", "0"),
            &CHALLENGE.replace("4096", "2000000000"),
            &CHALLENGE.replace("s=", "s=?"),
        ] {
            assert!(begun().answer(challenge.as_bytes(), &"pencil".into()).is_none(), "{challenge}");
        }
        assert_eq!(Scram::with_nonce(Hash::Sha512, "a=b,c", "n".to_owned()).first(), b"n,,n=a=3Db=2Cc,r=n");
    }
}
