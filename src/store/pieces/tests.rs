//! Laws of the pieces that runs keep.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::stage::Silent;

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    (folder, store)
}

fn scope(store: &Arc<Store>, anew: bool) -> Scope {
    Scope::open(store.clone(), Digest::of(b"scope"), anew, Arc::new(Silent)).unwrap()
}

fn name(i: usize) -> Digest {
    Digest::of(format!("piece {i}").as_bytes())
}

fn packs(store: &Store) -> Vec<PathBuf> {
    let folder = store.pieces_path(&Digest::of(b"scope"));
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == ENDING)).collect()
}

#[test]
fn pieces_outlive_the_run_that_made_them_in_one_file() {
    let (_folder, store) = store();
    let first = scope(&store, false);
    (0..1000).for_each(|i| first.put(name(i), format!("row {i}").as_bytes()));
    assert_eq!(first.get(&name(7)), Some(b"row 7".to_vec()));
    drop(first);
    assert_eq!(packs(&store).len(), 1);
    let second = scope(&store, false);
    assert!((0..1000).all(|i| second.get(&name(i)) == Some(format!("row {i}").into_bytes())));
    assert_eq!(second.get(&name(1000)), None);
    let other = Scope::open(store.clone(), Digest::of(b"other scope"), false, Arc::new(Silent)).unwrap();
    assert_eq!(other.get(&name(7)), None);
}

#[test]
fn many_packs_become_few_and_lose_nothing() {
    let (_folder, store) = store();
    let writer = scope(&store, false);
    for i in 0..200 {
        writer.put(name(i), &vec![1; i]);
        writer.flush();
        assert!(packs(&store).len() <= MOST_PACKS);
    }
    assert!((0..200).all(|i| writer.get(&name(i)) == Some(vec![1; i])));
    let reader = scope(&store, false);
    assert!((0..200).all(|i| reader.get(&name(i)) == Some(vec![1; i])));
}

#[test]
fn two_runs_write_side_by_side_and_read_on_when_packs_are_merged() {
    let (_folder, store) = store();
    let (one, two) = (scope(&store, false), scope(&store, false));
    one.put(name(0), b"zero");
    one.flush();
    let three = scope(&store, false);
    for i in 1..30 {
        let writer = if i % 2 == 0 { &one } else { &two };
        writer.put(name(i), b"some");
        writer.flush();
    }
    assert_eq!(three.get(&name(0)), Some(b"zero".to_vec()));
    drop((one, two, three));
    let after = scope(&store, false);
    assert!((0..30).all(|i| after.get(&name(i)).is_some()));
}

#[test]
fn damage_costs_the_pieces_it_hit_and_a_cut_off_pack_goes() {
    let (_folder, store) = store();
    let writer = scope(&store, false);
    (0..3).for_each(|i| writer.put(name(i), &[i as u8; 100]));
    drop(writer);
    let pack = packs(&store).remove(0);
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[20] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    let reader = scope(&store, false);
    assert_eq!((0..3).filter(|i| reader.get(&name(*i)) == Some(vec![*i as u8; 100])).count(), 2);
    assert_eq!((0..3).filter(|i| reader.get(&name(*i)).is_none()).count(), 1);
    bytes.pop();
    fs::write(&pack, &bytes).unwrap();
    assert!((0..3).all(|i| scope(&store, false).get(&name(i)).is_none()));
    assert!(packs(&store).is_empty());
}

#[test]
fn work_done_anew_sees_nothing_and_replaces_what_was_kept() {
    let (_folder, store) = store();
    let old = scope(&store, false);
    old.put(name(0), b"old");
    old.put(name(1), b"only old");
    drop(old);
    let anew = scope(&store, true);
    assert_eq!(anew.get(&name(0)), None);
    anew.put(name(0), b"new");
    anew.flush();
    assert_eq!(anew.get(&name(0)), Some(b"new".to_vec()));
    drop(anew);
    let after = scope(&store, false);
    assert_eq!([after.get(&name(0)), after.get(&name(1))], [Some(b"new".to_vec()), Some(b"only old".to_vec())]);
    assert_eq!(packs(&store).len(), 1);
}

#[test]
fn a_scope_goes_when_nothing_stands_on_it_and_nobody_uses_it() {
    let (_folder, store) = store();
    let writer = scope(&store, false);
    writer.put(name(0), b"row");
    writer.flush();
    let (none, this) = (BTreeSet::new(), BTreeSet::from([Digest::of(b"scope")]));
    let loose = |stays, goes, old: bool| store.loose_scopes(stays, goes, |_| old).len();
    assert_eq!(loose(&none, &this, true), 0, "in use");
    drop(writer);
    assert_eq!([loose(&none, &this, false), loose(&none, &none, true)], [1, 1]);
    assert_eq!([loose(&this, &this, true), loose(&none, &none, false)], [0, 0]);
}

#[test]
fn a_store_that_cannot_be_written_is_told_of_once_and_stops_nothing() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);
    impl Monitor for Heard {
        fn note(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_string());
        }
    }
    let (folder, store) = store();
    let heard = Arc::new(Heard::default());
    let writer = Scope::open(store.clone(), Digest::of(b"scope"), false, heard.clone()).unwrap();
    fs::remove_dir_all(folder.path().join("scratch")).unwrap();
    for i in 0..2 {
        writer.put(name(i), b"row");
        writer.flush();
    }
    let heard = heard.0.lock().unwrap();
    assert!(heard.len() == 1 && heard[0].starts_with("parts of the work cannot be kept, so a later run makes them again: "), "{heard:?}");
}
