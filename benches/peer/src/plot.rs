//! Plots as SVG: both axes by powers of ten.

use std::fmt::Write;

/// One plot.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Names and points; all coordinates are above 0.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
/// Room around the axes: left, right, above, below.
const MARGINS: [f64; 4] = [52.0, 16.0, 34.0, 58.0];
const COLOURS: [&str; 4] = ["#1f6fb2", "#c8502a", "#2b8a57", "#7a4fb0"];

/// An axis over whole powers of ten.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| {
            (least.min(value.log10().floor()), most.max(value.log10().ceil()))
        });
        Self { least, most: most.max(least + 1.0), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.least) / (self.most - self.least) * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = i32> {
        self.least as i32..=self.most as i32
    }
}

/// All of them, two in a row.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(2);
    let (width, height) = (2.0 * WIDTH, rows as f64 * HEIGHT);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        let (x, y) = ((at % 2) as f64 * WIDTH, (at / 2) as f64 * HEIGHT);
        let _ = write!(text, "<g transform=\"translate({x} {y})\">\n{}</g>\n", one(panel));
    }
    text + "</svg>\n"
}

fn one(panel: &Panel) -> String {
    let [left, right, above, below] = MARGINS;
    let points = || panel.lines.iter().flat_map(|(_, points)| points.iter().copied());
    let x = Axis::over(points().map(|point| point.0), left, WIDTH - right);
    let y = Axis::over(points().map(|point| point.1), HEIGHT - below, above);
    let mut text = format!("<text x=\"{left}\" y=\"18\" font-weight=\"bold\">{}</text>\n", panel.title);
    for power in x.ticks() {
        let at = x.place(10_f64.powi(power));
        let _ = writeln!(text, "<path d=\"M{at:.1} {} V{above}\" stroke=\"#ddd\"/>", y.from);
        let _ =
            writeln!(text, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", y.from + 15.0, ten(power));
    }
    for power in y.ticks() {
        let at = y.place(10_f64.powi(power));
        let _ = writeln!(text, "<path d=\"M{left} {at:.1} H{}\" stroke=\"#ddd\"/>", x.to);
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            at + 4.0,
            ten(power)
        );
    }
    for (at, ((name, points), colour)) in panel.lines.iter().zip(COLOURS).enumerate() {
        let places: Vec<_> =
            points.iter().map(|point| format!("{:.1},{:.1}", x.place(point.0), y.place(point.1))).collect();
        let line = places.join(" ");
        let _ = writeln!(text, "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let (from, below) = (left + 125.0 * at as f64, HEIGHT - 14.0);
        let _ = writeln!(text, "<path d=\"M{from} {below} h18\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let _ = writeln!(text, "<text x=\"{}\" y=\"{}\">{name}</text>", from + 23.0, below + 4.0);
    }
    text
}

/// A power of ten, as people write it.
fn ten(power: i32) -> String {
    match power {
        -2..=0 => format!("{}", 10_f64.powi(power)),
        1..=3 => format!("{}", 10_u32.pow(power as u32)),
        _ => format!("10<tspan dy=\"-4\" font-size=\"8\">{power}</tspan>"),
    }
}
