//! The one place that maps files into memory, and the only `unsafe` code of this crate.
//!
//! A mapping is sound as long as nobody truncates the file. Only sealed segments are mapped: their writer has renamed
//! them as its last act and never opens them again ([F-29]), and retiring one removes its name, which leaves mappings
//! intact. A sealed file that some other program truncates while it is read, or a place that the drive can't read, is an
//! error where the system can tell before it is touched (Linux 5.14); else it ends the process (`SIGBUS`), as it does for any
//! program that maps files. It can't make it read wrong data unnoticed, since every frame is checked.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Bytes of a file that are made ready at once: few enough that nothing is read long before it is needed.
const READY_BYTES: usize = 2 << 20;

/// A sealed file, all of it at hand.
pub(super) struct Map {
    map: Mmap,
    /// Bytes from the file's start that are ready to be looked at, or will be when they are touched.
    ready: usize,
}

impl std::ops::Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Map {
    /// Makes what stands from `position` on ready: much faster than page by page, as it is touched.
    ///
    /// # Errors
    /// Some of it can't be read.
    #[inline]
    pub(super) fn prepare(&mut self, position: u64) -> io::Result<()> {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        // Whoever looks at a frame looks beyond `position`.
        if position.saturating_add(READY_BYTES / 2) <= self.ready || self.ready >= self.map.len() {
            return Ok(());
        }
        self.prepare_more(position)
    }

    #[cfg(target_os = "linux")]
    #[cold]
    fn prepare_more(&mut self, position: usize) -> io::Result<()> {
        let from = self.ready.max(position).min(self.map.len());
        let bytes = READY_BYTES.min(self.map.len() - from);
        match self.map.advise_range(memmap2::Advice::PopulateRead, from, bytes) {
            Ok(()) => self.ready = from + bytes,
            Err(error) if error.raw_os_error() == Some(EFAULT) => return Err(io::Error::other(UNREADABLE)),
            // An older system, or a kind of file that isn't made ready this way: it is mapped as it is touched.
            Err(_) => self.ready = self.map.len(),
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn prepare_more(&mut self, _: usize) -> io::Result<()> {
        self.ready = self.map.len();
        Ok(())
    }
}

/// What Linux says of a place that would end the process if it were touched.
#[cfg(target_os = "linux")]
const EFAULT: i32 = 14;

#[cfg(target_os = "linux")]
const UNREADABLE: &str =
    "some of it can't be read: the drive has a bad place, or another program has cut the file short";

/// Maps all of a sealed file for reading.
pub(super) fn map(file: &File) -> io::Result<Map> {
    // SAFETY: the caller promises that the file is sealed; see the module's text for what that rests on.
    let map = unsafe { Mmap::map(file)? };
    #[cfg(unix)]
    // Only advice: if it can't be followed, reading is slower.
    let _ = map.advise(memmap2::Advice::Sequential);
    Ok(Map { map, ready: 0 })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn file(bytes: usize) -> (tempfile::NamedTempFile, Map) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; bytes]).unwrap();
        let map = map(&File::open(file.path()).unwrap()).unwrap();
        (file, map)
    }

    /// To be touched, it would end the process.
    #[test]
    fn what_was_cut_off_is_an_error_before_it_is_touched() {
        let (file, mut map) = file(3 * READY_BYTES);
        map.prepare(0).unwrap();
        if map.ready == map.len() {
            // This system can't tell.
            return;
        }
        assert_eq!((map.ready, map.first()), (READY_BYTES, Some(&7)));
        file.as_file().set_len(READY_BYTES as u64).unwrap();
        map.prepare(READY_BYTES as u64 / 4).unwrap();
        let error = map.prepare(READY_BYTES as u64 - 1).unwrap_err().to_string();
        assert!(error.contains("cut the file short"), "{error}");
        assert_eq!(map.get(READY_BYTES - 1), Some(&7), "what is there is there");
    }

    #[test]
    fn a_file_is_made_ready_from_any_place_on() {
        let (_file, mut map) = file(2 * READY_BYTES + 5);
        map.prepare(READY_BYTES as u64 + 3).unwrap();
        assert!(map.ready >= 2 * READY_BYTES + 3);
        map.prepare(2 * READY_BYTES as u64).unwrap();
        assert_eq!(map.ready, map.len());
        map.prepare(u64::MAX).unwrap();
        assert!(map.iter().all(|byte| *byte == 7));
    }
}
