//! Where state is kept and read.

use super::*;
use crate::replay::checkpoint::dirs::{below, real};

fn all(place: &Place, paths: &[&Path]) -> Vec<PathBuf> {
    let root = place.root();
    let below = |dir: PathBuf| dir.strip_prefix(&root).map(Path::to_owned).unwrap_or(dir);
    place.dirs(paths).all().into_iter().map(below).collect()
}

/// The place's own directory below what stands in for it.
fn stand_in(place: &Place) -> PathBuf {
    Path::new("home/sift-replay/paths").join(place.root().strip_prefix("/").unwrap())
}

#[cfg(unix)]
#[test]
fn the_same_place_has_the_same_directories_however_it_is_named() {
    let place = Place::new();
    let file = place.backups().join("a.sfr");
    std::fs::write(&file, "").unwrap();
    let link = place.root().join("link");
    std::os::unix::fs::symlink(place.backups(), &link).unwrap();
    let to_file = place.root().join("file link");
    std::os::unix::fs::symlink(&file, &to_file).unwrap();
    let expected = [
        PathBuf::from("backups/.sift-replay"),
        stand_in(&place).join("backups/.sift-replay"),
        PathBuf::from("home/sift-replay/shared"),
    ];
    let named = |text: &str| PathBuf::from(format!("{}/{text}", place.root().display()));
    let relative = {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        up.join(place.backups().strip_prefix("/").unwrap())
    };
    for path in [
        place.backups(),
        named("backups/"),
        named("backups/."),
        named("./backups"),
        named("nowhere/../backups"),
        named("backups/a.sfr"),
        relative,
        link.clone(),
        link.join("a.sfr"),
        to_file,
    ] {
        if path.to_str().unwrap().contains("nowhere") {
            // What isn't there has no parent to go up to; it is taken as it is written.
            assert_eq!(real(&path), place.backups());
            continue;
        }
        assert_eq!(all(&place, &[&path]), expected, "{}", path.display());
    }
}

#[test]
fn a_path_that_is_not_there_yet_is_kept_in_the_users_directory() {
    let place = Place::new();
    let missing = place.root().join("mnt/card");
    let expected = [stand_in(&place).join("mnt/card/.sift-replay"), PathBuf::from("home/sift-replay/shared")];
    assert_eq!(all(&place, &[&missing]), expected);
    let a = target("https://a:443");
    save(&place.open(&missing).unwrap(), &a, vec![acknowledged(0..5)]);
    assert!(!place.root().join("mnt").exists(), "nothing is made where a drive may be mounted");
    // It comes, and what was known is.
    std::fs::create_dir_all(&missing).unwrap();
    std::fs::remove_dir_all(place.user().join("sift-replay/shared")).unwrap();
    let checkpoints = place.open(&missing).unwrap();
    assert_eq!(checkpoints.primary(), Some(&*missing.join(".sift-replay")));
    assert_eq!(checkpoints.done(&a, SESSION).all().len(), 5);
}

#[test]
fn a_state_directory_that_is_given_is_the_only_one() {
    let place = Place::new();
    let given = place.root().join("state");
    let dirs = StateDirs::resolve_in(&[place.backups()], Some(&given), Some(&place.user()));
    assert_eq!(dirs.all(), std::slice::from_ref(&given));
    let a = target("https://a:443");
    let checkpoints = Checkpoints::open(disk(), dirs).unwrap();
    save(&checkpoints, &a, vec![acknowledged(0..5)]);
    assert_eq!(checkpoints.primary(), Some(&*given));
    assert!(!place.backups().join(".sift-replay").exists() && !place.user().exists());
}

#[test]
fn state_directories_below_and_above_are_read() {
    let place = Place::new();
    let deep = place.backups().join("2026/flight 7/data");
    std::fs::create_dir_all(&deep).unwrap();
    let a = target("https://a:443");
    let state = |dir: &Path| StateDirs::resolve_in(&[], Some(&dir.join(".sift-replay")), None);
    for (at, dir) in [place.root(), place.backups().join("2026"), deep.clone()].iter().enumerate() {
        let checkpoints = Checkpoints::open(disk(), state(dir)).unwrap();
        save(&checkpoints, &a, vec![acknowledged(at as u64 * 10..at as u64 * 10 + 1)]);
    }
    // Not one within another.
    let within = deep.join(".sift-replay/dead-letters/.sift-replay");
    std::fs::create_dir_all(&within).unwrap();
    let found = all(&place, &[&place.backups()]);
    let expected = ["backups/2026/.sift-replay", "backups/2026/flight 7/data/.sift-replay", ".sift-replay"];
    assert_eq!(found[2..5], expected.map(PathBuf::from));
    assert_eq!(found.len(), 6, "{found:?}");
    // Of those, nobody else is at work in these four.
    let dirs = place.dirs(&[&place.backups()]);
    assert_eq!(dirs.own(), dirs.all()[..4]);
    assert_eq!(ranges(&place.open(&place.backups()).unwrap().done(&a, SESSION).all()), [0..1, 10..11, 20..21]);
    // None of them was written to.
    let journals = |dir: &Path| std::fs::read_dir(dir.join(".sift-replay/checkpoints")).unwrap().count();
    assert_eq!((journals(&deep), journals(&place.root())), (1, 1));
}

#[test]
fn state_directories_are_looked_for_among_so_many_files() {
    let place = Place::new();
    let state = place.backups().join("1/2/3/.sift-replay");
    std::fs::create_dir_all(&state).unwrap();
    for (most, expected) in [(3, &[][..]), (4, std::slice::from_ref(&state)), (5, std::slice::from_ref(&state))] {
        let mut found = Vec::new();
        below(&place.backups(), most, &mut found);
        assert_eq!(found, expected, "among {most}");
    }
}

#[test]
fn a_place_whose_state_directory_is_a_file_is_kept_in_the_users() {
    let place = Place::new();
    std::fs::write(place.backups().join(".sift-replay"), "in the way").unwrap();
    let a = target("https://a:443");
    for _ in 0..2 {
        let checkpoints = place.open(&place.backups()).unwrap();
        let expected = place.root().join(stand_in(&place)).join("backups/.sift-replay");
        assert_eq!(checkpoints.primary(), Some(&*expected));
        save(&checkpoints, &a, vec![acknowledged(0..5)]);
    }
}

#[test]
fn each_of_several_places_knows_all_that_was_saved() {
    let place = Place::new();
    let other = place.root().join("other");
    std::fs::create_dir(&other).unwrap();
    let a = target("https://a:443");
    save(&Checkpoints::open(disk(), place.dirs(&[&place.backups(), &other])).unwrap(), &a, vec![acknowledged(0..5)]);
    for dir in
        [place.backups().join(".sift-replay"), other.join(".sift-replay"), place.user().join("sift-replay/shared")]
    {
        let dirs = StateDirs::resolve_in(&[], Some(&dir), None);
        let alone = Checkpoints::look(&disk(), &dirs);
        assert_eq!(alone.done(&a, SESSION).all().len(), 5, "{}", dir.display());
    }
}

/// Where everybody can write, anybody could claim that everything has arrived.
#[cfg(unix)]
#[test]
fn what_somebody_else_put_above_the_backups_is_not_believed() {
    let place = Place::new();
    let above = place.root().join(".sift-replay");
    std::fs::create_dir(&above).unwrap();
    let is_read = || all(&place, &[&place.backups()]).contains(&PathBuf::from(".sift-replay"));
    assert!(is_read());
    // Only the system's administrator can make it somebody else's.
    if std::os::unix::fs::chown(&above, Some(12_345), None).is_ok() {
        assert!(!is_read());
        // The backups' owner is believed.
        std::os::unix::fs::chown(place.backups(), Some(12_345), None).unwrap();
        assert!(is_read());
    }
}
