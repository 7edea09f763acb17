// Turns a part with the mouse, a finger or the arrow keys: drag turns, wheel or + and - zoom, shift-drag moves,
// double click goes back. Colours are those of the page.
"use strict";
(function () {
  const canvas = document.getElementById("part");
  if (!canvas) return;
  const note = document.getElementById("part-note");
  const data = JSON.parse(document.getElementById("part-data").textContent);
  const gl = canvas.getContext("webgl", { antialias: true, alpha: true });
  if (!gl || !gl.getExtension("OES_element_index_uint")) {
    canvas.hidden = true;
    note.textContent = "This browser shows no WebGL; the pictures are below.";
    return;
  }

  function decoded(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes.buffer;
  }

  const whole = new Uint16Array(decoded(data.points));
  const triangles = new Uint32Array(decoded(data.triangles));
  const points = new Float32Array(whole.length);
  for (let i = 0; i < whole.length; i++) points[i] = whole[i] / 65535 - data.extent[i % 3] / 2;

  // Normals at the corners, by area; corners lie apart where an edge is sharp.
  const normals = new Float32Array(points.length);
  for (let t = 0; t < triangles.length; t += 3) {
    const a = 3 * triangles[t], b = 3 * triangles[t + 1], c = 3 * triangles[t + 2];
    const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1], uz = points[b + 2] - points[a + 2];
    const vx = points[c] - points[a], vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
    const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += n[k];
  }

  function shader(kind, text) {
    const made = gl.createShader(kind);
    gl.shaderSource(made, text);
    gl.compileShader(made);
    if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
    return made;
  }

  const program = gl.createProgram();
  gl.attachShader(program, shader(gl.VERTEX_SHADER, `
    attribute vec3 place, normal;
    uniform mat3 turn;
    uniform vec2 scale, shift;
    varying vec3 facing;
    void main() {
      vec3 seen = turn * place;
      facing = turn * normal;
      gl_Position = vec4(seen.xy * scale + shift, -0.45 * seen.z, 1.0);
    }`));
  gl.attachShader(program, shader(gl.FRAGMENT_SHADER, `
    precision mediump float;
    uniform vec3 colour;
    varying vec3 facing;
    void main() {
      vec3 n = normalize(facing);
      if (n.z < 0.0) n = -n;
      float light = 0.34 + 0.70 * max(0.0, dot(n, normalize(vec3(-0.5, 0.6, 0.8))))
        + 0.28 * max(0.0, dot(n, normalize(vec3(0.8, -0.1, 0.4))));
      gl_FragColor = vec4(colour * light, 1.0);
    }`));
  gl.linkProgram(program);
  gl.useProgram(program);

  function fill(name, values) {
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    const at = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, 3, gl.FLOAT, false, 0, 0);
  }
  fill("place", points);
  fill("normal", normals);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
  gl.enable(gl.DEPTH_TEST);
  gl.clearColor(0, 0, 0, 0);

  const first = { around: Math.PI / 4, above: 0.62, zoom: 1, x: 0, y: 0 };
  let view = { ...first };

  // The view that shows the whole box, from any side, fills the canvas.
  const reach = 0.5 * Math.hypot(...data.extent);

  function colour() {
    const text = getComputedStyle(document.documentElement).getPropertyValue("--part").trim();
    return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16) / 255);
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const c = Math.cos(view.around), s = Math.sin(view.around), ca = Math.cos(view.above), sa = Math.sin(view.above);
    // Rows: right, up, towards the viewer; z of the part is up.
    const rows = [[c, s, 0], [-sa * s, sa * c, ca], [ca * s, -ca * c, sa]];
    const turn = new Float32Array([0, 1, 2].flatMap((k) => rows.map((row) => row[k])));
    gl.uniformMatrix3fv(gl.getUniformLocation(program, "turn"), false, turn);
    const unit = (1.02 * view.zoom * Math.min(width, height)) / reach;
    gl.uniform2f(gl.getUniformLocation(program, "scale"), unit / width, unit / height);
    gl.uniform2f(gl.getUniformLocation(program, "shift"), view.x, view.y);
    gl.uniform3fv(gl.getUniformLocation(program, "colour"), colour());
    gl.drawElements(gl.TRIANGLES, triangles.length, gl.UNSIGNED_INT, 0);
    canvas.dataset.view = [view.around, view.above, view.zoom].map((v) => v.toFixed(3)).join(" ");
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  function turnBy(x, y) {
    view.around -= x;
    view.above = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, view.above + y));
    redraw();
  }

  function zoomBy(factor) {
    view.zoom = Math.max(0.3, Math.min(20, view.zoom * factor));
    redraw();
  }

  const held = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, event);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const x = event.clientX - before.clientX, y = event.clientY - before.clientY;
    if (held.size === 2) {
      const other = [...held.values()].find((one) => one.pointerId !== event.pointerId);
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      zoomBy(apart(event) / Math.max(1, apart(before)));
    } else if (event.shiftKey) {
      view.x += (2 * x) / canvas.clientWidth;
      view.y -= (2 * y) / canvas.clientHeight;
      redraw();
    } else {
      turnBy(0.01 * x, 0.01 * y);
    }
    held.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => held.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-0.0015 * event.deltaY));
  }, { passive: false });
  canvas.addEventListener("dblclick", () => {
    view = { ...first };
    redraw();
  });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    const zooms = { "+": 1.15, "-": 1 / 1.15 };
    if (turns[event.key]) turnBy(...turns[event.key]);
    else if (zooms[event.key]) zoomBy(zooms[event.key]);
    else return;
    event.preventDefault();
  });
  window.addEventListener("resize", redraw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  draw();
})();
