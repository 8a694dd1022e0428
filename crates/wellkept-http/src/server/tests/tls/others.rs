//! Clients of another make, curl and OpenSSL, and what the other tests need of a client.

use std::io;
use std::process::{Command, Output};

use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::ReadBuf;
use tokio::sync::oneshot;
use wellkept_testkit::{Issued, not_run, wait_within};

use super::*;

/// A client's settings that trust this authority, with a certificate of its own.
pub(super) fn bearing(authority: &Authority, own: &Issued) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca_file()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let chain = vec![CertificateDer::from_pem_file(&own.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
    Arc::new(config.with_client_auth_cert(chain, key).unwrap())
}

/// A stream that tells how reading from it has ended.
pub(super) struct Watched {
    stream: TlsStream<TcpStream>,
    ended: Option<oneshot::Sender<Result<(), io::ErrorKind>>>,
}

impl Watched {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> (oneshot::Receiver<Result<(), io::ErrorKind>>, Self) {
        let (ended, told) = oneshot::channel();
        (told, Self { stream, ended: Some(ended) })
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let end = match &polled {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => Some(Ok(())),
            Poll::Ready(Err(error)) => Some(Err(error.kind())),
            _ => None,
        };
        if let Some((end, ended)) = end.and_then(|end| Some((end, self.ended.take()?))) {
            let _ = ended.send(end);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Runs a program that Debian has; `None` where it is missing, which is said aloud.
async fn run(program: &'static str, arguments: Vec<String>) -> Option<Output> {
    let ran = tokio::task::spawn_blocking(move || {
        wait_within(PATIENCE, Command::new(program).args(arguments).stdin(std::process::Stdio::null()))
    });
    match ran.await.unwrap() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            not_run(format!("{program} is missing: apt-get install {program}"));
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[tokio::test]
async fn curl_is_served_by_both_versions_of_tls_and_of_http() {
    let certified = Certified::new();
    let handle = serve(hello(), certified.options(), &Tracker::default());
    let url = format!("https://localhost:{}/", tcp(&handle).port());
    let ca_file = certified.authority.ca_file().display().to_string();
    for (options, version) in
        [(&["--http1.1", "--tlsv1.3"][..], "1.1"), (&["--http1.1", "--tls-max", "1.2"], "1.1"), (&["--http2"], "2")]
    {
        let fixed =
            ["--silent", "--show-error", "--ipv4", "--cacert", &ca_file, "--write-out", " %{http_version}", &url];
        let arguments = fixed.iter().chain(options).map(|&argument| argument.to_owned()).collect();
        let Some(output) = run("curl", arguments).await else { return };
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said, format!("hello {version}"), "{options:?}: {errors}");
    }
    // Trusting the system's authorities alone, it does not.
    let untrusting = ["--silent", "--ipv4", &url].map(str::to_owned).to_vec();
    let Some(output) = run("curl", untrusting).await else { return };
    assert_eq!(output.status.code(), Some(60), "curl's code for a certificate that it does not trust");
}

#[tokio::test]
async fn openssl_verifies_the_certificate_and_agrees_on_http2() {
    let certified = Certified::new();
    let handle = serve(hello(), certified.options(), &Tracker::default());
    let address = tcp(&handle).to_string();
    let ca_file = certified.authority.ca_file().display().to_string();
    let named = ["s_client", "-connect", &address, "-servername", "localhost", "-verify_hostname", "localhost"];
    let trusted = ["-CAfile", &ca_file, "-alpn", "h2,http/1.1"];
    let arguments = named.iter().chain(&trusted).map(|&argument| argument.to_owned()).collect();
    let Some(output) = run("openssl", arguments).await else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    for line in ["Verification: OK", "ALPN protocol: h2", "New, TLSv1.3"] {
        assert!(said.contains(line), "{line} is missing in {said}");
    }
}
