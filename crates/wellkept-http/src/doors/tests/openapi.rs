//! Claims about the description of the doors.

use std::path::Path;

use serde_json::Value;

use super::*;

async fn document(doors: &Doors) -> Value {
    serde_json::from_str(&get(doors.admin(), LOOPBACK, "/openapi.json").await.1).unwrap()
}

/// Each path with its methods.
fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let each = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(|method| (path.clone(), method.to_uppercase())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(each).collect()
}

#[tokio::test(start_paused = true)]
async fn whatever_the_description_names_is_answered_with_a_code_that_it_names() {
    let checker = checker().await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    let document = document(&doors).await;
    let operations = operations(&document);
    assert!(operations.len() > 10);
    for (path, method) in operations {
        let request = Request::builder().method(&*method).uri(path.replace(['{', '}'], "")).header("host", "x");
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Arrival::new(
            LOOPBACK.parse::<std::net::SocketAddr>().unwrap(),
            OPEN.parse::<std::net::SocketAddr>().unwrap(),
        ));
        let code = doors.admin().oneshot(request).await.unwrap().status();
        let named = &document["paths"][&path][method.to_lowercase()]["responses"][code.as_str()];
        assert!(named.is_object(), "{method} {path} answers {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_operation_has_a_name_of_its_own() {
    let checker = checker().await;
    let document = document(&doors(&checker, Access::loopback_only(), Names::Shown)).await;
    let mut names: Vec<_> = operations(&document)
        .iter()
        .map(|(path, method)| {
            document["paths"][path][method.to_lowercase()]["operationId"].as_str().unwrap().to_owned()
        })
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

#[test]
fn nothing_is_mounted_without_its_description() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doors");
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let mounts = ["axum::routing", ".route_service(", ".nest(", ".nest_service("];
            let mounts = mounts.iter().any(|mount| text.contains(mount));
            let may = path.ends_with("doors/routes.rs") || path.components().any(|part| part.as_os_str() == "tests");
            let may = may || path.ends_with("tests.rs");
            assert!(may || !mounts, "{} mounts a route past `Routes`", path.display());
        }
    }
}

#[test]
fn every_public_route_is_one_that_probes_use() {
    for operation in Doors::probes().operations() {
        let path = operation.path.replace(['{', '}'], "");
        assert!(Doors::is_probe(&path), "{path} would be refused while the service drains");
    }
    assert!(!Doors::is_probe("/health/detailed") && !Doors::is_probe("/orders"));
}
