//! What is fit to serve with, and what is said of what is not.

use std::fs;

use wellkept_testkit::{Authority, Issued};

use super::*;

fn files(issued: &Issued) -> TlsFiles {
    TlsFiles { certificate: issued.certificate.clone(), key: issued.key.clone(), client_ca: None }
}

/// The code and the text of what is refused, without the folder.
fn refused(files: &TlsFiles) -> String {
    let error = TlsIdentity::load(files).unwrap_err();
    let folder = files.key.parent().unwrap().display().to_string();
    format!("{} {}: {error}", error.part().as_str(), error.code()).replace(&folder, "")
}

#[test]
fn each_file_that_is_of_no_use_is_named_with_what_is_wrong() {
    let authority = Authority::new();
    let good = files(&authority.issue("localhost", 30));
    TlsIdentity::load(&good).unwrap();
    let write = |name: &str, text: &str| {
        let path = good.key.with_file_name(name);
        fs::write(&path, text).unwrap();
        path
    };
    let certificate = |path| TlsFiles { certificate: path, ..good.clone() };
    let key = |path| TlsFiles { key: path, ..good.clone() };
    let authorities = |path| TlsFiles { client_ca: Some(path), ..good.clone() };
    let missing = || good.key.with_file_name("missing");

    insta::assert_snapshot!(refused(&certificate(missing())), @"certificate tls.unreadable: the certificate file /missing can't be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(refused(&certificate(good.key.with_file_name(""))), @"certificate tls.unreadable: the certificate file / can't be read: it is not a regular file");
    insta::assert_snapshot!(refused(&certificate(write("empty", ""))), @"certificate tls.no_certificate: the certificate file /empty holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)");
    insta::assert_snapshot!(refused(&certificate(good.key.clone())), @"certificate tls.no_certificate: the certificate file /localhost30.key holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)");
    let damaged = "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n";
    insta::assert_snapshot!(refused(&certificate(write("damaged", damaged))), @"certificate tls.unusable: the certificate file /damaged can't be used: it is damaged");
    insta::assert_snapshot!(refused(&certificate(write("large", &"x".repeat(MOST_OF_A_FILE + 1)))), @"certificate tls.too_large: the certificate file /large is larger than 1 MiB");
    insta::assert_snapshot!(refused(&key(missing())), @"key tls.unreadable: the key file /missing can't be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(refused(&key(good.certificate.clone())), @"key tls.no_key: the key file /localhost30.pem holds no private key in PEM (`-----BEGIN PRIVATE KEY-----`), or one with a passphrase");
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    insta::assert_snapshot!(refused(&key(write("locked", locked))), @"key tls.no_key: the key file /locked holds no private key in PEM (`-----BEGIN PRIVATE KEY-----`), or one with a passphrase");
    let unknown = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    insta::assert_snapshot!(refused(&key(write("unknown", unknown))), @"key tls.unusable: the key file /unknown can't be used: it is of a kind or size that is not known");
    let other = authority.issue("elsewhere", 30);
    insta::assert_snapshot!(refused(&key(other.key)), @"key tls.mismatch: the key file /elsewhere30.key does not belong to the certificate file /localhost30.pem: name the one that it was issued for");
    insta::assert_snapshot!(refused(&authorities(missing())), @"client_ca tls.unreadable: the client CA file /missing can't be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(refused(&authorities(good.key.clone())), @"client_ca tls.no_certificate: the client CA file /localhost30.key holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)");
    TlsIdentity::load(&authorities(authority.ca_file())).unwrap();
}

#[test]
fn a_certificate_that_has_ended_is_a_warning_with_its_date() {
    let authority = Authority::new();
    let ended = TlsIdentity::load(&files(&authority.issue("localhost", -3))).unwrap();
    let warning = ended.warning().unwrap();
    let at = Timestamp::try_from(ended.not_after().unwrap()).unwrap();
    assert_eq!(warning, format!("the certificate has ended at {at}: clients will refuse it"));
    let holds = TlsIdentity::load(&files(&authority.issue("localhost", 3))).unwrap();
    assert_eq!(holds.warning(), None);
}

#[test]
fn two_identities_are_one_when_every_byte_is_the_same() {
    let authority = Authority::new();
    let one = files(&authority.issue("localhost", 30));
    let other = files(&authority.issue("localhost", 31));
    let load = |files: &TlsFiles| TlsIdentity::load(files).unwrap();
    assert_eq!(load(&one), load(&one));
    assert_ne!(load(&one), load(&other));
    assert_ne!(load(&one), load(&TlsFiles { client_ca: Some(authority.ca_file()), ..one.clone() }));
}

#[test]
fn nothing_shows_the_key() {
    let authority = Authority::new();
    let issued = authority.issue("localhost", 30);
    let key = fs::read_to_string(&issued.key).unwrap();
    let secret = key.lines().nth(1).unwrap();
    let identity = TlsIdentity::load(&files(&issued)).unwrap();
    let shown = format!("{identity:?} {:?}", Tls::new(identity.clone()));
    assert!(!shown.contains(secret) && shown.contains("not_after"), "{shown}");
    // A line that is broken is not quoted.
    let broken = key.replace(secret, &format!("{secret}*"));
    let certificate = fs::read(&issued.certificate).unwrap();
    let error = TlsIdentity::from_pem(&certificate, broken.as_bytes(), None).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    assert_eq!(error.to_string(), "the key can't be used: it is damaged");
}
