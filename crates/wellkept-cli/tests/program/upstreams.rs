//! Services that look at each other, each a real process.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use wellkept_testkit::{free_address, http, until};

use crate::served::{PATIENCE, Served, run, text};

/// A service that is well while a file is there, which stands for its database, and looks at others by the path that is
/// given with each.
fn service(name: &str, address: SocketAddr, file: &Path, looks: &[(&str, SocketAddr, &str)]) -> String {
    // A missing file system is a failed check: what is made and removed is a folder.
    let folder = file.display();
    let mut text = format!(
        "
service: {{ name: {name}, version: '1.0' }}
http: {{ listen: '{address}' }}
store: {{ url: memory }}
defaults: {{ interval: 100ms, timeout: 2s, fall: 2, rise: 2, jitter: 0% }}
checks:
  - name: {name}-db
    disk: {{ path: '{folder}', degraded_below: 0%, unhealthy_below: 0% }}
    groups: [ready]
"
    );
    for (other, address, path) in looks {
        // Writing to a String can't fail.
        let _ = write!(text, "  - name: {other}\n    upstream: {{ url: 'http://{address}{path}' }}\n");
    }
    text
}

/// Services in a ring, each looking at the next one.
struct Ring {
    services: Vec<Served>,
    folders: tempfile::TempDir,
}

const NAMES: [&str; 4] = ["orders", "billing", "stock", "mail"];

impl Ring {
    /// As many services as paths: by which each looks at the next one.
    fn of(paths: &[&str]) -> Self {
        let folders = tempfile::tempdir().unwrap();
        let addresses: Vec<_> = paths.iter().map(|_| free_address()).collect();
        let services = paths.iter().enumerate().map(|(number, path)| {
            let folder = folders.path().join(NAMES[number]);
            std::fs::create_dir(&folder).unwrap();
            let next = (number + 1) % paths.len();
            let looks = [(NAMES[next], addresses[next], *path)];
            Served::listening_as_configured(&service(NAMES[number], addresses[number], &folder, &looks))
        });
        Self { services: services.collect(), folders }
    }

    fn fail(&self, number: usize) {
        std::fs::remove_dir(self.folders.path().join(NAMES[number])).unwrap();
    }

    fn mend(&self, number: usize) {
        std::fs::create_dir(self.folders.path().join(NAMES[number])).unwrap();
    }

    fn statuses(&self) -> Vec<Value> {
        self.services.iter().map(|served| served.get("/health").json()["status"].clone()).collect()
    }

    fn until_all_are(&self, status: &str) {
        until(PATIENCE, &format!("all to be {status}"), || self.statuses().iter().all(|one| one == status));
    }

    /// Fails one and mends it again; all follow, the loop is named, and none is held down by another.
    fn fails_and_recovers(&self, number: usize) {
        self.until_all_are("healthy");
        self.fail(number);
        self.until_all_are("unhealthy");
        let next = NAMES[(number + 1) % self.services.len()];
        let looking = self.services[number].until_status(next, "degraded");
        assert_eq!((&looking["reason"], &looking["raw_status"]), (&"loop".into(), &"warn".into()), "{looking}");
        let way = looking["metadata"]["loop"].as_str().unwrap();
        // Readiness does not tell the service's name.
        let begins = way.starts_with(&format!("{next} → ")) || way.starts_with("it → ");
        assert!(begins && way.ends_with("→ this service"), "{way}");
        assert_eq!(way.matches('→').count(), self.services.len() - 1, "{way}");
        self.mend(number);
        self.until_all_are("healthy");
        let looking = self.services[number].component(next);
        assert_eq!(looking["metadata"]["loop"], way, "the loop is told of while all is well");
    }
}

#[test]
fn two_services_that_look_at_each_other_name_the_loop_and_recover_together() {
    for path in ["/health", "/health/ready", "/health/detailed"] {
        let ring = Ring::of(&[path; 2]);
        ring.fails_and_recovers(0);
        ring.fails_and_recovers(1);
    }
}

#[test]
fn a_service_that_looks_at_one_component_of_another_names_the_loop_over_it_and_both_recover() {
    // The first one looks at what the second one makes of the first one.
    let ring = Ring::of(&["/health/component/orders", "/health"]);
    ring.fails_and_recovers(0);
}

#[test]
fn two_services_that_look_at_each_others_view_of_themselves_do_not_keep_each_other_from_starting() {
    let folders = tempfile::tempdir().unwrap();
    let (orders, billing) = (free_address(), free_address());
    let started = |name, address, other, other_address| {
        let path = format!("/health/component/{name}");
        let looks = [(other, other_address, &*path)];
        Served::listening_as_configured(&service(name, address, folders.path(), &looks))
    };
    let first = started("billing", billing, "orders", orders);
    first.until_status("orders", "unhealthy");
    // The first thing that it hears is that it is down itself.
    let second = started("orders", orders, "billing", billing);
    for (served, other) in [(&first, "orders"), (&second, "billing")] {
        served.until_status(other, "healthy");
        let tells = || served.component(other)["metadata"]["loop"] == "it → this service";
        until(PATIENCE, &format!("{other} to tell of the loop"), tells);
    }
}

#[test]
fn a_ring_of_three_services_names_the_loop_and_recovers_together() {
    let ring = Ring::of(&["/health"; 3]);
    ring.fails_and_recovers(2);
    // By names that everyone may read: its own components' and no others.
    let answer = |path: &str| {
        let headers = [("wellkept-asker", "0123456789ab"), ("host", "elsewhere")];
        http::request(ring.services[0].http, "GET", path, &headers, b"").unwrap()
    };
    let told = answer("/health").header("wellkept-origins").unwrap().to_owned();
    assert!(told.contains(">billing:") && !told.contains("stock") && !told.contains("orders"), "{told}");
    assert_eq!(ring.services[0].get("/health").header("wellkept-origins"), None);
}

#[test]
fn the_components_of_services_stand_below_each_other_on_every_face_of_the_program() {
    let folders = tempfile::tempdir().unwrap();
    let names = ["mail", "stock", "orders"];
    let mut below: Option<(&str, SocketAddr)> = None;
    let mut services = Vec::new();
    for name in names {
        let folder = folders.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let looks: Vec<_> = below.map(|(name, address)| (name, address, "/health/detailed")).into_iter().collect();
        let served = Served::with(&service(name, free_address(), &folder, &looks));
        below = Some((name, served.http));
        services.push(served);
    }
    let (top, folder) = (&services[2], services[2].folder.path());
    // Before, it may be the start of one of them that is told.
    top.until_status("stock", "healthy");
    std::fs::remove_dir(folders.path().join("mail")).unwrap();
    let stock = top.until_status("stock", "unhealthy");
    assert_eq!((&stock["reason"], &stock["message"]), (&"upstream".into(), &"it says that it is unhealthy".into()));
    assert_eq!(stock["components"]["stock-db"]["status"], "healthy");
    assert_eq!(stock["components"]["mail"]["components"]["mail-db"]["status"], "unhealthy");
    assert_eq!(stock["metadata"]["service"], "stock");
    assert!(stock["components"]["mail"]["components"].get("event-loop").is_some(), "{stock}");

    assert!(top.get("/").text().contains(r#"class="part level-2">mail-db<"#));
    let server = format!("http://{}", top.http);
    for command in
        [vec!["status", "--server", &server], vec!["check", "--server", &server], vec!["check", "orders-db", "stock"]]
    {
        let output = text(&run(folder, &command).stdout);
        let row = output.lines().find(|line| line.starts_with("    mail-db ")).unwrap_or_else(|| panic!("{output}"));
        assert!(row.contains("unhealthy"), "{command:?}: {row}");
    }
    for path in ["/health", "/health/ready", "/metrics"] {
        let public = http::request(top.http, "GET", path, &[("host", "elsewhere")], b"").unwrap().text();
        assert!(!public.contains("mail"), "{path} shows a component of another service: {public}");
    }
}
