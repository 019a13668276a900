//! Namespaces made, pinned, entered and removed, as root.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

/// A pinned namespace in a folder of its own; gone with the test, even if it fails.
pub(crate) struct Pinned {
    pub(crate) path: PathBuf,
    _folder: TempDir,
}

impl Pinned {
    /// A place for a namespace, and none there yet.
    fn nothing() -> Self {
        let folder = tempfile::Builder::new().prefix("cnm-cni-netns-").tempdir().unwrap();
        Self { path: folder.path().join("run/netns/one"), _folder: folder }
    }

    pub(crate) async fn new() -> Self {
        let pinned = Self::nothing();
        create(&pinned.path).await.unwrap();
        pinned
    }

    fn identity(&self) -> Option<Identity> {
        identity(&self.path).unwrap()
    }

    pub(crate) async fn remove(&self) {
        remove(&self.path).await.unwrap();
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        while let Ok(true) = take_off(&self.path) {}
    }
}

/// Waits until `holds`; fails after some seconds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn of_this_thread() -> Identity {
    identity(Path::new(THIS_THREAD)).unwrap().unwrap()
}

#[tokio::test]
async fn a_new_namespace_is_another_one_with_its_loopback_up() {
    let pinned = Pinned::new().await;
    assert_ne!(pinned.identity(), Some(of_this_thread()));
    let heard = run_in(&pinned.path, || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send_to(b"echo", socket.local_addr()?)?;
        let mut buffer = [0; 8];
        socket.recv(&mut buffer)
    });
    assert_eq!(heard.await.unwrap().unwrap(), 4);
}

#[tokio::test]
async fn missing_folders_are_made_for_the_owner_alone() {
    let pinned = Pinned::new().await;
    let mode = fs::metadata(pinned.path.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_live_namespace_is_not_replaced() {
    let pinned = Pinned::new().await;
    let before = pinned.identity();
    let again = create(&pinned.path).await;
    assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
    assert_eq!(pinned.identity(), before);
}

#[tokio::test]
async fn a_plain_file_that_a_crash_left_is_no_namespace_and_is_taken_over() {
    let pinned = Pinned::nothing();
    place_for_pin(&pinned.path).unwrap();
    assert_eq!(pinned.identity(), None);
    let opened = open(&pinned.path);
    assert!(matches!(opened, Err(Error::NotANamespace { .. })), "{opened:?}");

    create(&pinned.path).await.unwrap();
    assert!(pinned.identity().is_some());
}

#[tokio::test]
async fn nothing_is_left_where_a_namespace_cannot_be_pinned() {
    let pinned = Pinned::nothing();
    fs::create_dir_all(&pinned.path).unwrap();
    let made = create(&pinned.path).await;
    assert!(matches!(made, Err(Error::Failed { .. })), "{made:?}");
    assert!(pinned.path.is_dir());

    let link = pinned.path.with_file_name("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    assert!(create(&link).await.is_err(), "a symbolic link was followed");
    assert_eq!(fs::read_dir(pinned.path.parent().unwrap()).unwrap().count(), 2);
}

#[tokio::test]
async fn removing_takes_every_pin_and_the_file_and_may_be_repeated() {
    let pinned = Pinned::new().await;
    pin(own().unwrap(), &pinned.path).unwrap();
    pinned.remove().await;
    assert!(!pinned.path.exists());
    pinned.remove().await;

    place_for_pin(&pinned.path).unwrap();
    pinned.remove().await;
    assert!(!pinned.path.exists());
}

#[tokio::test]
async fn a_pin_covers_the_one_below_until_it_is_taken_off() {
    let pinned = Pinned::new().await;
    let below = pinned.identity();
    pin(own().unwrap(), &pinned.path).unwrap();
    assert_eq!(pinned.identity(), Some(of_this_thread()));
    let folder = pinned.path.parent().unwrap();
    assert_eq!(stacked(folder).unwrap(), std::slice::from_ref(&pinned.path));
    unpin(&pinned.path).unwrap();
    assert_eq!(pinned.identity(), below);
    assert_eq!(stacked(folder).unwrap(), [] as [PathBuf; 0]);
    unpin(&pinned.path).unwrap();
    unpin(&pinned.path).unwrap();
    assert_eq!(pinned.identity(), None);

    pin(own().unwrap(), &pinned.path).unwrap();
    assert_eq!(pinned.identity(), Some(of_this_thread()));
}

#[tokio::test]
async fn work_runs_inside_and_leaves_the_caller_and_no_thread_behind() {
    let pinned = Pinned::new().await;
    let outside = of_this_thread();
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let path = pinned.path.clone();
        runs.spawn(async move { run_in(&path, of_this_thread).await.unwrap() });
    }
    for inside in runs.join_all().await {
        assert_eq!(Some(inside), pinned.identity());
    }
    assert_eq!(of_this_thread(), outside);
    eventually("no thread of ours is left", async || {
        fs::read_dir("/proc/self/task").unwrap().all(|task| {
            let name = fs::read_to_string(task.unwrap().path().join("comm"));
            name.is_ok_and(|name| name.trim() != "netns")
        })
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_entered_is_distinguished() {
    let pinned = Pinned::nothing();
    let absent = run_in(&pinned.path, || ()).await;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "{absent:?}");

    // A namespace of another kind.
    let other = run_in(Path::new("/proc/self/ns/uts"), || ()).await.unwrap_err();
    assert_eq!(
        other.to_string(),
        "cannot enter network namespace /proc/self/ns/uts: Invalid argument (os error 22)"
    );
}

#[tokio::test]
async fn a_panic_inside_is_an_error_outside() {
    let pinned = Pinned::new().await;
    let result = run_in(&pinned.path, || panic!("on purpose")).await;
    assert!(matches!(result, Err(Error::Panicked { .. })), "{result:?}");
}

/// Runs a thread in a mount namespace of its own, a slave of this one; it answers each
/// question with the identity it sees at the path.
fn elsewhere(path: &Path) -> (mpsc::Sender<()>, mpsc::Receiver<Option<Identity>>) {
    let (ask, asked) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let path = path.to_owned();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, slave, None::<&str>).unwrap();
        while let Ok(()) = asked.recv() {
            answer.send(identity(&path).unwrap()).unwrap();
        }
    });
    (ask, answers)
}

#[tokio::test]
async fn a_copied_mount_namespace_cannot_keep_a_removed_namespace() {
    let pinned = Pinned::new().await;
    let (ask, answers) = elsewhere(&pinned.path);
    ask.send(()).unwrap();
    assert_eq!(answers.recv().unwrap(), pinned.identity());
    pinned.remove().await;
    ask.send(()).unwrap();
    assert_eq!(answers.recv().unwrap(), None);
}

#[tokio::test]
async fn on_a_shared_mount_others_see_a_pin_come_and_go() {
    let pinned = Pinned::nothing();
    let folder = pinned.path.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    let none = None::<&str>;
    mount(Some(folder), folder, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, folder, none, MsFlags::MS_SHARED, none).unwrap();

    let (ask, answers) = elsewhere(&pinned.path);
    ask.send(()).unwrap();
    let before = answers.recv().unwrap();
    let made = create(&pinned.path).await;
    let here = pinned.identity();
    ask.send(()).unwrap();
    let during = answers.recv().unwrap();
    let removed = remove(&pinned.path).await;
    ask.send(()).unwrap();
    let after = answers.recv().unwrap();
    umount2(folder, MntFlags::MNT_DETACH).unwrap();

    made.unwrap();
    removed.unwrap();
    assert!(here.is_some());
    assert_eq!((before, during, after), (None, here, None));
}

#[tokio::test]
async fn few_threads_are_inside_namespaces_however_much_there_is_to_do() {
    static INSIDE: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let pinned = Pinned::new().await;
    let work = || {
        MOST.fetch_max(INSIDE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(2));
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    };
    let path = pinned.path.clone();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let path = path.clone();
        all.spawn(async move { run_in(&path, work).await.unwrap() });
    }
    all.join_all().await;
    assert!((2..=8).contains(&MOST.load(Ordering::SeqCst)), "{}", MOST.load(Ordering::SeqCst));
}
