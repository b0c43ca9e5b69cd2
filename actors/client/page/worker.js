// One stream for all tabs of this page: a browser opens six connections to one host, and a stream holds one.
//
// A tab sends "seen" when it is seen, and gets what `Stream` tells until it sends "hidden". A tab that comes
// makes the stream begin again, so that it gets a snapshot. Without a tab that is seen there is no stream.

import { Stream } from "./stream.js";

const tabs = new Set();
const stream = new Stream((...told) => {
  for (const tab of tabs) tab.postMessage(told);
});

function seen(tab) {
  tabs.add(tab);
  stream.open();
}

function gone(tab) {
  tabs.delete(tab);
  if (tabs.size === 0) stream.close();
}

addEventListener("connect", ({ ports: [tab] }) => {
  tab.addEventListener("message", ({ data }) => (data === "seen" ? seen : gone)(tab));
  tab.addEventListener("close", () => gone(tab)); // A tab that crashed says nothing. Not every browser has this.
  tab.start();
});
