//! Bars on a terminal. What they show is made elsewhere.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::state::View;
use crate::cli::text::set_screen;

/// The bars at the lower end of a terminal. While they are there, [`note`](crate::cli::text::note) prints above them.
pub(super) struct Bars {
    screen: MultiProgress,
    style: ProgressStyle,
    total: ProgressBar,
    running: Vec<ProgressBar>,
}

impl Bars {
    /// `None` if stderr is no terminal that they can be drawn on.
    pub(super) fn new() -> Option<Self> {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        if screen.is_hidden() {
            return None;
        }
        // Cut off where the terminal ends: a line that wraps would be drawn again and again.
        let style = ProgressStyle::with_template("{wide_msg}").ok()?;
        let total = screen.add(ProgressBar::new_spinner().with_style(style.clone()));
        set_screen(Some(screen.clone()));
        Some(Self { screen, style, total, running: Vec::new() })
    }

    pub(super) fn draw(&mut self, view: &View) {
        while self.running.len() > view.running.len() {
            if let Some(bar) = self.running.pop() {
                bar.finish_and_clear();
                self.screen.remove(&bar);
            }
        }
        while self.running.len() < view.running.len() {
            let bar = ProgressBar::new_spinner().with_style(self.style.clone());
            self.running.push(self.screen.insert_before(&self.total, bar));
        }
        for (bar, text) in self.running.iter().zip(&view.running) {
            bar.set_message(text.clone());
        }
        self.total.set_message(view.total.clone());
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.running.iter().chain([&self.total]).for_each(ProgressBar::finish_and_clear);
        let _ = self.screen.clear();
        set_screen(None);
    }
}
