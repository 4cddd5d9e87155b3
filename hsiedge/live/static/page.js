"use strict";
// A waterfall of false colour beside its labels, the newest line at the bottom. It only listens: nothing is ever sent.
const HEIGHT = 400, EVENTS = 20;
const byId = (id) => document.getElementById(id);
let palette = [], ended = false;

function paint(canvas, rows, columns, rgb) {
  if (canvas.width !== columns || canvas.height !== HEIGHT) {
    canvas.width = columns;
    canvas.height = HEIGHT;
  }
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  for (let pixel = 0; pixel < rows * columns; pixel += 1) {
    image.data.set(rgb(pixel), 4 * pixel);
  }
  context.drawImage(canvas, 0, -rows);
  context.putImageData(image, 0, HEIGHT - rows);
}

function lines(buffer) {
  const [first, rows, columns] = new Uint32Array(buffer, 0, 3);
  const colours = new Uint8Array(buffer, 12, 3 * rows * columns);
  const labels = new Uint8Array(buffer, 12 + colours.length);
  paint(byId("colour"), rows, columns, (at) => [colours[3 * at], colours[3 * at + 1], colours[3 * at + 2], 255]);
  paint(byId("labels"), rows, columns, (at) => palette[labels[at]] || palette[0]);
  document.body.dataset.line = first;
}

function begin(message) {
  palette = message.palette.map((rgb) => [...rgb, 255]);
  byId("name").textContent = message.title;
  document.title = message.title;
  byId("legend").replaceChildren(...message.classes.map((name, place) => {
    const item = document.createElement("li"), patch = document.createElement("canvas");
    patch.width = patch.height = 1;
    patch.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(palette[place]), 1, 1), 0, 0);
    const [title, share] = ["title", "share"].map((kind) => {
      const part = document.createElement("span");
      part.className = kind;
      return part;
    });
    title.textContent = name;
    title.title = name;
    item.append(patch, title, share);
    return item;
  }));
  byId("events").replaceChildren();
  for (const id of ["colour", "labels"]) byId(id).width = 0;
}

function status(message) {
  byId("figures").replaceChildren(...message.figures.map(([name, value, bad]) => {
    const box = document.createElement("div"), term = document.createElement("dt"), figure = document.createElement("dd");
    term.textContent = name;
    figure.textContent = value;
    figure.className = bad ? "bad" : "";
    box.append(term, figure);
    return box;
  }));
  [...byId("legend").children].forEach((item, place) => {
    item.lastChild.textContent = `${(100 * message.shares[place]).toFixed(1)} %`;
  });
  state(message.state, message.bad);
  ended = message.ended;
  document.body.dataset.status = JSON.stringify(message);
}

function event(message) {
  const item = document.createElement("li");
  item.textContent = message.text;
  byId("events").prepend(item);
  while (byId("events").children.length > EVENTS) byId("events").lastChild.remove();
}

function state(text, bad) {
  byId("state").textContent = text;
  byId("state").className = bad ? "bad" : "";
}

function connect(wait) {
  const socket = new WebSocket(`ws://${location.host}/lines`);
  let told = false;
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({data}) => {
    told = true;
    if (data instanceof ArrayBuffer) return lines(data);
    const message = JSON.parse(data);
    return {begin, status, event}[message.kind](message);
  };
  socket.onclose = () => {
    if (!ended) state("no connection to the run", true);
    setTimeout(connect, told ? 1000 : wait, Math.min(2 * wait, 30000));
  };
}

connect(1000);
