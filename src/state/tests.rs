//! Records that are kept, found again, and set aside.

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    key: String,
    text: String,
}

impl Record for Note {
    const FOLDER: &'static str = "notes";
    const OLDEST: u32 = 2;
    const VERSION: u32 = 3;
    type Form = Self;

    fn key(&self) -> String {
        self.key.clone()
    }

    fn form(&self) -> Self {
        self.clone()
    }

    fn read(version: u32, content: Content<'_>) -> Result<Self, String> {
        match version {
            // It had no text then.
            2 => Ok(Self { key: content.parse()?, text: "of version 2".into() }),
            _ => content.parse(),
        }
    }
}

fn note(text: &str) -> Note {
    Note { key: "a".into(), text: text.into() }
}

fn open(dir: &Path) -> (Folder<Note>, Loaded<Note>) {
    Folder::open(dir).unwrap()
}

#[tokio::test]
async fn a_record_survives_its_folder_being_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = open(dir.path());
    folder.put("a", &note("first")).await.unwrap();
    folder.put("a", &note("second")).await.unwrap();
    assert_eq!(open(dir.path()).1.records, [note("second")]);

    folder.remove("a").await.unwrap();
    folder.remove("a").await.unwrap();
    assert!(open(dir.path()).1.records.is_empty());
}

#[tokio::test]
async fn unreadable_records_are_set_aside_and_the_others_load() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = open(dir.path());
    folder.put("a", &note("x")).await.unwrap();
    let notes = dir.path().join("notes");
    fs::write(notes.join("garbage.json"), "{").unwrap();
    fs::write(notes.join("newer.json"), r#"{"version":4,"record":{"other":1}}"#).unwrap();
    fs::write(notes.join("old.json"), r#"{"version":1,"record":{"other":1}}"#).unwrap();

    let (_, loaded) = open(dir.path());
    assert_eq!(loaded.records, [note("x")]);
    assert_eq!(loaded.set_aside.len(), 3);
    for version in ["version 4, of a newer program", "version 1 (this program reads from version 2"]
    {
        let says_so = |aside: &SetAside| aside.reason.contains(version);
        assert!(loaded.set_aside.iter().any(says_so), "{:?}", loaded.set_aside);
    }
    assert_eq!(fs::read_to_string(notes.join("garbage.json.unreadable")).unwrap(), "{");
    assert!(open(dir.path()).1.set_aside.is_empty());
}

#[tokio::test]
async fn a_record_of_an_older_version_is_read_and_written_as_of_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = open(dir.path());
    let file = dir.path().join("notes/a.json");
    fs::write(&file, r#"{"version":2,"record":"a"}"#).unwrap();
    let [read] = open(dir.path()).1.records.try_into().unwrap();
    assert_eq!(read, note("of version 2"));
    assert!(fs::read_to_string(&file).unwrap().contains(r#""version":2"#), "not before it changes");
    folder.put("a", &read).await.unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains(r#""version":3"#));
    assert_eq!(open(dir.path()).1.records, [read]);
}

#[tokio::test]
async fn a_glance_reads_what_is_whole_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Folder::<Note>::glance(dir.path()).unwrap(), []);
    let (folder, _) = open(dir.path());
    folder.put("a", &note("whole")).await.unwrap();
    let others = ["b.json.tmp", "c.json"].map(|name| dir.path().join("notes").join(name));
    for other in &others {
        fs::write(other, "{").unwrap();
    }
    assert_eq!(Folder::<Note>::glance(dir.path()).unwrap(), [note("whole")]);
    assert!(others.iter().all(|other| other.exists()));
}

#[tokio::test]
async fn what_a_crash_left_half_written_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = open(dir.path());
    folder.put("a", &note("whole")).await.unwrap();
    let half = dir.path().join("notes/a.json.tmp");
    fs::write(&half, r#"{"version":3,"rec"#).unwrap();
    assert_eq!(open(dir.path()).1.records, [note("whole")]);
    assert!(!half.exists());
}

#[tokio::test]
async fn a_failed_write_leaves_the_old_record_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = open(dir.path());
    folder.put("a", &note("old")).await.unwrap();
    // A folder stands where the temporary file would go.
    fs::create_dir(dir.path().join("notes/a.json.tmp")).unwrap();
    let error = folder.put("a", &note("new")).await.unwrap_err();
    assert!(error.to_string().contains("notes/a.json.tmp"), "{error}");
    fs::remove_dir(dir.path().join("notes/a.json.tmp")).unwrap();
    assert_eq!(open(dir.path()).1.records, [note("old")]);
}
