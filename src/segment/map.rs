//! The one place that maps files into memory, and the only `unsafe` code of this crate.
//!
//! A mapping is sound as long as nobody truncates the file. Only sealed segments are mapped: their writer has renamed
//! them as its last act and never opens them again ([F-29]), and retiring one removes its name, which leaves mappings
//! intact. A sealed file that some other program truncates while it is read ends the process (`SIGBUS`), as
//! it does for any program that maps files; it can't make it read wrong data unnoticed, since every frame is checked.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps all of a sealed file for reading.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the caller promises that the file is sealed; see the module's text for what that rests on.
    let map = unsafe { Mmap::map(file)? };
    #[cfg(unix)]
    // Only advice: if it can't be followed, reading is slower.
    let _ = map.advise(memmap2::Advice::Sequential);
    Ok(map)
}
