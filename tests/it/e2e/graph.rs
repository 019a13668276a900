//! `cnm-cni graph` in a real browser: `make test-graph`. The picture of README.md: `make graph-picture`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::browser::Browser;
use super::operations::site;

const WIDE: (u32, u32) = (1280, 900);
const NARROW: (u32, u32) = (420, 900);

/// Where photographs are kept, to be looked at.
fn album() -> PathBuf {
    let album = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/graph");
    fs::create_dir_all(&album).unwrap();
    album
}

/// What must hold of every page, in a window of any width and in every light.
fn look_at(browser: &mut Browser, page: &Path, name: &str) {
    for (size, width) in [(NARROW, "narrow"), (WIDE, "wide")] {
        for dark in [true, false] {
            browser.make_dark(dark);
            browser.open(page, size);
            let overflows = "document.documentElement.scrollWidth > innerWidth";
            assert_eq!(browser.tell(overflows), json!(false), "{name} is too wide for {width}");
            let light = if dark { "dark" } else { "light" };
            browser.photograph(&album().join(format!("{name}-{width}-{light}.png")));
        }
    }
    assert_eq!(browser.complaints, [""; 0]);
    assert!(
        browser.fetched.iter().all(|url| url.starts_with("file://") || url.starts_with("data:"))
    );
}

/// How many rows of the table are shown, and how many containers of the picture.
fn shown(browser: &mut Browser) -> (Value, Value) {
    let rows =
        "[...document.querySelectorAll('tbody tr')].filter(it => it.offsetHeight > 0).length";
    let boxes = "document.querySelectorAll('.attached:not(.hidden)').length";
    (browser.tell(rows), browser.tell(boxes))
}

fn search(browser: &mut Browser, word: &str) {
    browser.tell(
        "document.querySelector('input').value = ''; document.querySelector('input').focus()",
    );
    browser.write(word);
}

#[test]
#[ignore = "make test-graph"]
fn a_broken_bridge_is_red_on_the_page_of_a_real_host() {
    let host = site();
    host.exec(&["ip", "route", "add", "default", "via", &host.machine()]);
    host.exec(&["ip", "link", "set", "back0", "down"]);
    host.exec(&["cnm-cni", "graph", "-o", "/root/net.html"]);
    host.exec(&["cnm-cni", "graph", "-o", "/root/net.svg"]);
    if std::env::var_os("CNM_CNI_DRAW").is_some() {
        let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/graph.svg");
        fs::copy(host.path("/root/net.svg"), picture).unwrap();
    }
    let page = album().join("host.html");
    fs::copy(host.path("/root/net.html"), &page).unwrap();
    let mut browser = Browser::start();
    look_at(&mut browser, &page, "host");
    let of_bad = |what: &str| format!("document.querySelector('.device.bad {what}')");
    let colour = browser.tell(&format!("getComputedStyle({}).stroke", of_bad("rect")));
    assert_eq!(colour, "rgb(200, 16, 46)");
    let title = browser.tell(&format!("{}.textContent", of_bad("title")));
    assert!(title.as_str().unwrap().contains("interface back0 of the host is down"), "{title}");
    assert_eq!(browser.tell("document.querySelectorAll('.device.bad').length"), 1);
    assert_eq!(shown(&mut browser), (json!(8), json!(8)));
    search(&mut browser, "blog back");
    assert_eq!(shown(&mut browser), (json!(2), json!(2)));
    let names: Vec<&str> = vec![
        "shop-web-1",
        "shop-api-1",
        "shop-db-1",
        "shop-queue-1",
        "blog-web-1",
        "blog-db-1",
        "blog-cache-1",
        "blog-proxy-1",
    ];
    host.remove(&names, &["front", "back", "edge"]);
}

/// Docker's list of names has a `/` only before a name.
const HOSTILE: &str = "<img src=x onerror=alert(1)><script>\"'&<!--";

#[test]
#[ignore = "make test-graph"]
fn three_hundred_containers_are_drawn_and_found_and_a_name_is_no_program() {
    const COUNT: usize = 300;
    let folder = TempDir::new().unwrap();
    records(folder.path(), COUNT);
    let socket = folder.path().join("docker.sock");
    docker(&socket, COUNT);
    let page = folder.path().join("page.html");
    let program = env!("CARGO_BIN_EXE_cnm-cni");
    let mut graph = Command::new(program);
    graph.args(["graph", "--output"]).arg(&page).arg("--state-dir").arg(folder.path());
    graph
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .env("NETCONFPATH", folder.path());
    assert!(graph.status().unwrap().success());
    let mut browser = Browser::start();
    look_at(&mut browser, &page, "many");
    assert_eq!(shown(&mut browser), (json!(COUNT), json!(COUNT)));
    search(&mut browser, "WEB-007");
    assert_eq!(shown(&mut browser), (json!(1), json!(1)));
    assert_eq!(browser.tell("document.querySelector('output').textContent"), "1 of 300");
    search(&mut browser, "nobody has this");
    assert_eq!(shown(&mut browser), (json!(0), json!(0)));
    assert_eq!(browser.tell("document.scripts.length"), 1);
    let cells = "[...document.querySelectorAll('td:first-child')].map(it => it.textContent)";
    let cells = browser.tell(cells);
    assert!(cells.as_array().unwrap().contains(&json!(HOSTILE)), "{cells}");
    assert_eq!(browser.complaints, [""; 0]);
}

const NETWORK: &str = "a0ca6ece2c77192e6a30b8d43e6cc8ecf221af6fbcec1bdea408c1d29c467b9f";

/// As many attachments as a driver would have on record.
fn records(folder: &Path, count: usize) {
    const ID: &str = "9671f12554194790ae5007fa5ad235f6";
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/attachments/2/settled.json");
    let fixture = fs::read_to_string(fixture).unwrap();
    for name in ["attachments", "networks"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    for number in 0..count {
        let id = format!("{:08x}{}", number + 1, &ID[8..]);
        let text = fixture.replace(ID, &id).replace("\"e1\"", &format!("\"{}\"", endpoint(number)));
        let text =
            text.replace("10.22.3.7", &format!("10.22.{}.{}", number / 200, number % 200 + 2));
        fs::write(folder.join(format!("attachments/{id}.json")), text).unwrap();
    }
    let network = json!({"id": NETWORK, "conflist": "k8snet", "options": {}});
    let network = json!({"version": 1, "record": network}).to_string();
    fs::write(folder.join(format!("networks/{NETWORK}.json")), network).unwrap();
}

fn endpoint(number: usize) -> String {
    format!("{number:064x}")
}

/// A Docker that tells their names; a real one would refuse the first.
fn docker(socket: &Path, count: usize) {
    let containers = (0..count).map(|number| {
        let name = if number == 0 { HOSTILE.to_owned() } else { format!("web-{number:03}") };
        let end = json!({"NetworkID": NETWORK, "EndpointID": endpoint(number)});
        json!({"Id": endpoint(number), "Names": [format!("/{name}")], "State": "running",
               "NetworkSettings": {"Networks": {"pods": end}}})
    });
    let containers = Value::from(containers.collect::<Vec<_>>()).to_string();
    let networks = json!([{"Id": NETWORK, "Name": "pods"}]).to_string();
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap();
            let is_networks = asked[..length].starts_with(b"GET /networks");
            let body = if is_networks { &networks } else { &containers };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).unwrap();
        }
    });
}
