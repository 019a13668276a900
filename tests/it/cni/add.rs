//! ADD and DEL along a chain.

use serde_json::json;

use super::{Bench, attachment};

#[tokio::test]
async fn r42_r44_add_goes_forward_and_del_backward() {
    let bench = Bench::with(&["first", "second", "third"]);
    let list = bench.list(
        "1.0.0",
        json!([
            {"type": "first", "fake": {"result": {"ips": [{"address": "10.1.2.3/24"}]}}},
            {"type": "second", "fake": {"result": {"dns": {"nameservers": ["1.2.3.4"]}}}},
            {"type": "third"},
        ]),
    );
    let runtime = bench.runtime();
    let result = runtime.add(&list, &attachment()).await.unwrap();
    assert_eq!(result.ips[0].address, "10.1.2.3/24".parse().unwrap());
    assert_eq!(result.dns.nameservers, ["1.2.3.4"]);
    runtime.del(&list, &attachment(), Some(&result)).await.unwrap();
    assert_eq!(
        bench.order(),
        ["ADD first", "ADD second", "ADD third", "DEL third", "DEL second", "DEL first"]
    );

    let calls = bench.calls();
    let previous = |index: usize| calls[index]["stdin"]["prevResult"].clone();
    assert!(calls[0]["stdin"].get("prevResult").is_none());
    assert_eq!(previous(1), json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}]}));
    let last = json!({
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.1.2.3/24"}],
        "dns": {"nameservers": ["1.2.3.4"]},
    });
    for index in 2..6 {
        assert_eq!(previous(index), last, "call {index}");
    }
}
