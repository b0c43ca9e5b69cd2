// The publishes that were made, beside those that other ways to publish would have made.

import { mean, percent, sum, write } from "./words.js";

export function compare(report) {
  const { publishes: { total }, promises } = report;
  const each = report.publishes_if_one_a_play;
  const timer = report.publishes_if_plain_timer;
  const most = Math.max(total, each, timer, 1);
  for (const [id, count] of [["made", total], ["each", each], ["timer", timer]]) {
    write(id, sum(count));
    document.getElementById(`${id}-bar`).style.transform = `scaleX(${count / most})`;
  }
  const isAny = total > 0;
  write("timer-name", `A plain timer, every ${promises.deadline_s} s, ${promises.batch_size_max} videos each`);
  write("made-note", isAny ? "" : "none yet");
  write("each-note", isAny ? `${percent(report.saving_percent ?? 0)} saved` : "");
  write("timer-note", timer ? `${against(total, timer)}, but first plays are up to ${promises.deadline_s} s late` : "");
}

function against(total, timer) {
  if (total === timer) return "as many";
  if (total < timer) return `${percent(100 * (1 - total / timer))} saved`;
  return `${mean(total / timer)} times fewer`;
}
