//! The two sides against each other, and against what is no side at all, over real sockets.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wellkept_shutdown::{BoxFuture, Entrance, Sequence, Settings, Triggered};

use super::*;
use crate::server::Address;

const PATIENCE: Duration = Duration::from_secs(20);

/// Listens, and counts what is asked of it.
struct Door {
    name: String,
    listener: TcpListener,
    left: AtomicUsize,
    files_left: AtomicUsize,
}

impl Door {
    fn new(name: &str) -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Arc::new(Self { name: name.to_owned(), listener, left: AtomicUsize::new(0), files_left: AtomicUsize::new(0) })
    }

    fn address(&self) -> Address {
        Address::Tcp(self.listener.local_addr().unwrap())
    }
}

impl Entrance for Door {
    fn name(&self) -> &str {
        &self.name
    }

    fn announce(&self) {}

    fn open(&self) -> usize {
        0
    }

    fn stop_accepting(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn drain(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn abort(&self) {}
}

impl Listening for Door {
    fn share(&self) -> io::Result<SharedSocket> {
        Ok(SharedSocket { address: self.address(), managed: false, socket: self.listener.try_clone()?.into() })
    }

    fn leave_file(&self) {
        self.files_left.fetch_add(1, Ordering::SeqCst);
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.left.fetch_add(1, Ordering::SeqCst);
        })
    }
}

/// A process that serves, with these doors.
struct Serving {
    doors: Vec<Arc<Door>>,
    shutdown: Shutdown,
    path: PathBuf,
    run: tokio::task::JoinHandle<()>,
    _sequence: Sequence,
    _folder: TempDir,
}

impl Serving {
    fn with(names: &[String], patience: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private/handover.sock");
        let doors: Vec<_> = names.iter().map(|name| Door::new(name)).collect();
        let (shutdown, sequence) = Shutdown::new(Settings::default());
        let handover = Handover::bind(&path, HandoverOptions { patience }).unwrap();
        let listening = doors.iter().map(|door| Arc::clone(door) as Arc<dyn Listening>).collect();
        let run = tokio::spawn(handover.run(shutdown.clone(), listening, || true));
        Self { doors, shutdown, path, run, _sequence: sequence, _folder: folder }
    }

    fn new() -> Self {
        Self::with(&["http".to_owned()], PATIENCE)
    }

    async fn ask(&self) -> (TakeOver, Sockets) {
        TakeOver::ask(&self.path).await.unwrap().expect("somebody is there")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// What nobody took over serves on, and can be taken over by the next.
    async fn goes_on(self) {
        assert_eq!(self.doors[0].left.load(Ordering::SeqCst), 0);
        assert!(!self.shutdown.is_shutting_down());
        // The one before is still being seen off.
        let next = loop {
            match TakeOver::ask(&self.path).await {
                Err(TakeOverError::Refused { code, .. }) if code == "handover.busy" => tokio::task::yield_now().await,
                asked => break asked.unwrap().expect("somebody is there").0,
            }
        };
        next.ready().await.unwrap();
        within(self.shutdown.begun()).await;
        assert_eq!(self.shutdown.cause(), Some(&Cause::HandedOver));
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it ends in time")
}

#[tokio::test]
async fn the_sockets_arrive_by_name_and_the_first_leaves_when_the_second_is_ready() {
    let serving = Serving::with(&["http".to_owned(), "admin".to_owned()], PATIENCE);
    let (taking, mut sockets) = serving.ask().await;
    assert!(taking.must_be_ready());
    assert!(taking.ends() > Instant::now());
    assert_eq!(sockets.take("admin").unwrap().address(), &serving.doors[1].address());
    let http = sockets.take("http").unwrap();
    assert_eq!(http.address(), &serving.doors[0].address());
    assert_eq!(serving.doors[0].left.load(Ordering::SeqCst), 0, "not before it is ready");
    taking.ready().await.unwrap();
    within(serving.shutdown.begun()).await;
    assert_eq!(serving.shutdown.cause(), Some(&Cause::HandedOver));
    assert!(serving.doors.iter().all(|door| door.left.load(Ordering::SeqCst) == 1));
    let refused = TakeOver::ask(&serving.path).await.unwrap_err();
    assert_eq!(refused.code(), "handover.busy", "until the next one listens there");
}

#[tokio::test]
async fn forty_sockets_arrive_in_their_order() {
    let names: Vec<_> = (0..40).map(|number| format!("door-{number}")).collect();
    let serving = Serving::with(&names, PATIENCE);
    let (_taking, sockets) = serving.ask().await;
    let arrived: Vec<_> =
        sockets.iter().map(|(name, listener)| (name.to_owned(), listener.address().clone())).collect();
    let sent: Vec<_> = serving.doors.iter().map(|door| (door.name.clone(), door.address())).collect();
    assert_eq!(arrived, sent);
}

#[tokio::test]
async fn one_that_goes_or_gives_up_or_talks_rubbish_changes_nothing() {
    for what in ["goes", "gives up", "rubbish", "a lie", "out of turn", "half a message"] {
        let serving = Serving::new();
        match what {
            "goes" => drop(serving.ask().await),
            "gives up" => serving.ask().await.0.give_up("no\ndisk").await,
            "rubbish" => serving.connect().await.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(),
            "a lie" => serving.connect().await.write_all(&[0xff; 1000]).await.unwrap(),
            "out of turn" => tell(&mut serving.connect().await, &Successor::Ready).await.unwrap(),
            _ => serving.connect().await.write_all(&[0, 0, 0, 9, b'{']).await.unwrap(),
        }
        serving.goes_on().await;
    }
}

#[tokio::test]
async fn one_that_speaks_another_version_is_told_so() {
    let serving = Serving::new();
    let mut stream = serving.connect().await;
    tell(&mut stream, &Successor::Take { version: 2 }).await.unwrap();
    let told = hear(&mut stream).await.unwrap();
    assert!(matches!(told, Predecessor::Refused { code, .. } if code == "handover.version"));
    serving.goes_on().await;
}

#[tokio::test]
async fn one_that_is_not_ready_in_time_loses_the_sockets_again() {
    let serving = Serving::with(&["http".to_owned()], Duration::from_millis(50));
    let (mut taking, _sockets) = serving.ask().await;
    let News::Withdrawn { reason } = within(taking.news()).await else { panic!("it is told") };
    assert_eq!(reason, "it was not ready within 50ms");
    // Also when its word and the refusal cross.
    let (taking, _sockets) = serving.ask().await;
    within(taking.told()).await.unwrap();
    assert_eq!(taking.ready().await.unwrap_err().code(), "handover.withdrawn");
    assert!(!serving.shutdown.is_shutting_down());
}

#[tokio::test]
async fn a_second_one_is_refused_and_told_who_the_first_is() {
    let serving = Serving::new();
    let (taking, _sockets) = serving.ask().await;
    for _ in 0..3 {
        let refused = TakeOver::ask(&serving.path).await.unwrap_err();
        assert_eq!(refused.code(), "handover.busy");
        assert!(refused.to_string().contains(&format!("process {} ", std::process::id())), "{refused}");
    }
    taking.ready().await.unwrap();
    within(serving.shutdown.begun()).await;
}

#[tokio::test]
async fn one_who_is_just_taking_over_is_alone_when_the_first_ends_or_is_gone() {
    let serving = Serving::new();
    let (mut taking, _sockets) = serving.ask().await;
    assert_eq!(serving.shutdown.trigger(Cause::requested("test")), Triggered::Now);
    assert_eq!(within(taking.news()).await, News::Alone);
    assert_eq!(serving.doors[0].files_left.load(Ordering::SeqCst), 1);
    assert_eq!(serving.doors[0].left.load(Ordering::SeqCst), 0, "it ends as it always does");

    let serving = Serving::new();
    let (mut taking, _sockets) = serving.ask().await;
    serving.run.abort();
    assert_eq!(within(taking.news()).await, News::Alone);

    let serving = Serving::new();
    let (taking, _sockets) = serving.ask().await;
    serving.run.abort();
    within(taking.ready()).await.unwrap();
}

#[tokio::test]
async fn without_anybody_there_this_is_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    assert!(TakeOver::ask(&path).await.unwrap().is_none());
    // One that was killed leaves its file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(TakeOver::ask(&path).await.unwrap().is_none());
    Handover::bind(&path, HandoverOptions::default()).unwrap();
}

#[tokio::test]
async fn what_a_liar_offers_is_refused() {
    for lie in ["rubbish", "a file", "no sockets", "out of turn"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let liar = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let offered = vec![Offered { name: "http".to_owned(), address: String::new(), managed: false }];
            match lie {
                "rubbish" => stream.write_all(&[7; 100]).await.unwrap(),
                "out of turn" => tell(&mut stream, &Predecessor::Yours).await.unwrap(),
                _ => tell(&mut stream, &Predecessor::offer(offered, true, PATIENCE)).await.unwrap(),
            }
            match lie {
                "a file" => system::send(&stream, &[std::fs::File::open("/dev/null").unwrap().into()]).await.unwrap(),
                "no sockets" => stream.write_all(b"+").await.unwrap(),
                _ => {}
            }
            stream.read_to_end(&mut Vec::new()).await.ok();
        };
        let (asked, ()) = within(async { tokio::join!(TakeOver::ask(&path), liar) }).await;
        assert_eq!(asked.unwrap_err().code(), "handover.broken", "{lie}");
    }
}

#[tokio::test]
async fn the_socket_is_private_and_its_folder_too() {
    let serving = Serving::new();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&serving.path), 0o600);
    assert_eq!(mode(serving.path.parent().unwrap()), 0o700);

    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Handover::bind(&folder.path().join("handover.sock"), HandoverOptions::default()).unwrap_err();
    assert!(error.to_string().contains("others may write to its folder"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    std::fs::write(&path, "precious").unwrap();
    let error = Handover::bind(&path, HandoverOptions::default()).unwrap_err();
    assert!(error.to_string().contains("something that is no socket has this name"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn the_socket_of_the_next_one_is_left_alone_by_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let before = Handover::bind(&path, HandoverOptions::default()).unwrap();
    let next = Handover::bind(&path, HandoverOptions::default()).unwrap();
    drop(before);
    UnixStream::connect(&path).await.expect("the next one listens there");
    drop(next);
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}
