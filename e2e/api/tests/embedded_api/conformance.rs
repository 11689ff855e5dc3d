//! The embedded API answers as a real API server was seen to answer.

use leasehold_api::{
    ApiServer, Kind,
    conformance::{CHECKS, Target, run_all},
};

use super::NAMESPACE;

#[tokio::test]
async fn the_embedded_api_passes_every_check_that_a_real_api_server_passes() {
    let api = ApiServer::start(0).unwrap();
    let target = Target::of_embedded(&api, NAMESPACE).await.unwrap();
    let outcomes = run_all(&target, |_| {}).await;
    assert_eq!(outcomes.len(), CHECKS.len() + 1);
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for kind in Kind::ALL {
        assert!(api.list(kind, NAMESPACE).is_empty(), "{kind:?}s are left");
    }
}
