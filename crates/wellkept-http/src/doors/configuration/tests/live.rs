//! Claims about the doors on a configuration that is read from a real file.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use wellkept_config::{Live, LiveOptions, MemoryVersions, Section, Sources};

use super::*;

/// An application's settings.
#[derive(Debug)]
struct Limits;

impl wellkept_config::Settings for Limits {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let parallel = section.or("parallel", 4_u32);
        let password = section.optional::<String>("password");
        section.complete();
        drop((parallel, password));
        Some(Self)
    }
}

/// Doors on a file, which is held with its folder.
fn on_a_file(text: &str) -> (Doors, PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.yaml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources::new().file(&file);
    let live = Live::<Limits>::load_with(sources, LiveOptions::default(), MemoryVersions::default()).unwrap();
    let doors = doors();
    doors.show_configuration(Arc::new(live));
    (doors, file, folder)
}

async fn get_json(doors: &Doors, path: &str) -> Value {
    let (status, body) = get(doors, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

async fn post_json(doors: &Doors, path: &str, headers: &[(&str, &str)], body: &'static str) -> (u16, Value) {
    let (status, body) = post(doors, path, headers, body).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn a_file_is_shown_changed_and_gone_back_from() {
    let (doors, file, _folder) = on_a_file("parallel: 2\npassword: a-secret\n");
    let running = get_json(&doors, "/api/v1/config").await;
    assert_eq!((&running["version"], &running["trigger"]), (&1.into(), &"start".into()), "{running}");
    let values = running["values"].as_array().unwrap();
    let shown = |name: &str| values.iter().find(|value| value["path"] == name).unwrap().clone();
    assert_eq!(shown("parallel")["value"], "2");
    assert!(shown("parallel")["origin"].as_str().unwrap().ends_with("app.yaml:1:11"), "{values:?}");
    assert_eq!((&shown("password")["value"], &shown("password")["secret"]), (&Value::Null, &true.into()));

    std::fs::write(&file, "parallel: 8\npassword: another\n").unwrap();
    let differs = get_json(&doors, "/api/v1/config/diff").await["changes"].clone();
    assert_eq!(differs, serde_json::json!(["~ parallel: 2 -> 8", "~ password: (secret changed)"]));
    let (status, tried) = post_json(&doors, "/api/v1/config/reload?dry_run=true", &[], "").await;
    assert_eq!((status, &tried["outcome"], &tried["version"]), (200, &"applied".into(), &1.into()), "{tried}");
    let seen = format!("\"{}\"", running["hash"].as_str().unwrap());
    let (status, applied) = post_json(&doors, "/api/v1/config/reload", &[("if-match", &seen)], "").await;
    assert_eq!((status, &applied["version"], &applied["changes"]), (200, &2.into(), &differs), "{applied}");
    let (status, lost) = post_json(&doors, "/api/v1/config/reload", &[("if-match", &seen)], "").await;
    assert_eq!((status, &lost["error"]["code"]), (412, &"config.stale".into()));

    let (status, back) = post_json(&doors, "/api/v1/config/rollback", &[], r#"{"to":1,"author":"ann"}"#).await;
    assert_eq!((status, &back["outcome"], &back["returned_to"]), (200, &"rolled_back".into(), &1.into()), "{back}");
    let (status, pinned) = post_json(&doors, "/api/v1/config/reload", &[], "").await;
    assert_eq!((status, &pinned["error"]["code"]), (409, &"config.pinned".into()), "{pinned}");
    let versions = get_json(&doors, "/api/v1/config/versions").await;
    let latest = &versions["versions"][0];
    assert_eq!(latest["outcome"], "rolled_back", "{versions}");
    assert_eq!(latest["author"], "ann (loopback from 127.0.0.1:5)", "{versions}");
    assert_eq!(latest["refuses"], applied["hash"]);
    let (status, _) = post_json(&doors, "/api/v1/config/rollback", &[], r#"{"to":9}"#).await;
    assert_eq!(status, 404);

    std::fs::write(&file, "parallell: 8\n").unwrap();
    let (status, wrong) = post_json(&doors, "/api/v1/config/reload", &[], "").await;
    let message = wrong["error"]["message"].as_str().unwrap();
    assert!(status == 422 && message.ends_with(":1:1: unknown key `parallell`, did you mean `parallel`?"), "{wrong}");
    assert_eq!(get(&doors, "/api/v1/config/file").await.0, 422);
    let all = [running, versions, get_json(&doors, "/api/v1/config/versions/2").await];
    assert!(
        all.iter().all(|answer| !answer.to_string().contains("a-secret") && !answer.to_string().contains("another"))
    );
}
