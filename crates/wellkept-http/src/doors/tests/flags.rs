//! Feature flags, as operators and the page of metrics show them.

use serde_json::{Value, json};
use wellkept_config::{Document, FlagBoard, Settings as _};

use super::*;

wellkept_config::flags! {
    /// Two of them.
    struct Switches {
        /// On for a part.
        checkout("new-checkout"): bool = false,
        /// On for all.
        search("search"): bool = true,
    }
}

#[tokio::test(start_paused = true)]
async fn flags_are_shown_to_operators_and_counted_in_the_metrics() {
    let doors = doors(&checker().await, Access::loopback_only(), Names::Hidden);
    let (_, before) = get(doors.admin(), LOOPBACK, "/health/detailed").await;
    assert!(!before.contains("flags"), "{before}");
    let document = Document::parse("shop.yaml", "new-checkout: { percentage: 25%, keys: [jane@example.com] }").unwrap();
    let switches = document.read(Switches::read).unwrap();
    let board = FlagBoard::new();
    board.count(&switches);
    board.show(&switches);
    doors.show_flags(&board);
    assert!(switches.checkout.is_on("jane@example.com") && !switches.checkout.is_on("tenant-a"));
    let (status, detailed) = get(doors.admin(), LOOPBACK, "/health/detailed").await;
    let detailed: Value = serde_json::from_str(&detailed).unwrap();
    let checkout = json!({
        "variants": { "false": { "ratio": 0.75, "evaluations": 1 }, "true": { "ratio": 0.25, "evaluations": 1 } },
        "named_keys": 1,
    });
    assert_eq!((status, &detailed["flags"]["new-checkout"]), (200, &checkout));
    assert_eq!(detailed["flags"]["search"]["variants"]["true"]["ratio"], json!(1.0));
    assert_eq!(detailed["components"]["orders-db"]["status"], "healthy");
    let (_, page) = get(doors.admin(), LOOPBACK, "/metrics").await;
    let lines: Vec<_> = page.lines().filter(|line| line.contains("{flag=\"new-checkout\"")).collect();
    assert_eq!(
        lines,
        [
            "wellkept_feature_flag_ratio{flag=\"new-checkout\",variant=\"false\"} 0.75",
            "wellkept_feature_flag_ratio{flag=\"new-checkout\",variant=\"true\"} 0.25",
            "wellkept_feature_flag_keys{flag=\"new-checkout\"} 1.0",
            "wellkept_feature_flag_evaluations_total{flag=\"new-checkout\",variant=\"false\"} 1.0",
            "wellkept_feature_flag_evaluations_total{flag=\"new-checkout\",variant=\"true\"} 1.0",
        ]
    );
    // Who may not see the names of components does not learn what is being rolled out.
    let public = get(doors.public(), OPEN, "/metrics").await.1;
    assert!(!public.contains("checkout") && !get(doors.public(), OPEN, "/health").await.1.contains("checkout"));
}
