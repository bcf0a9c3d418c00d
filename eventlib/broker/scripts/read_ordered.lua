-- Read new entries and hand out those of one key one at a time, in the order of the stream. An entry that is not the
-- head of its per-key queue is parked and acknowledged. An entry without a key is handed out at once.
-- KEYS  stream, retry, delayed, key_queue_heads, key_queues
-- ARGV  group, consumer, field of the data that is the key, count, bytes after which to stop ('' for no limit)
-- Returns whether there may be more; the ids up to which stream and retry are read ('' if there may be more);
-- {1 for stream or 2 for retry, id, fields and values} for each entry handed out, up to count of each source.
local heads, queues, retry = KEYS[4], KEYS[5], KEYS[2]
local group, consumer, field, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local bytes, size = tonumber(ARGV[5]), 0 -- with a limit, one entry is read at a time
local looks_max = math.max(count, 256) -- so that other clients are served soon

local function key_in(event)
  return cjson.decode(event).data[field]
end

-- The name of the event's per-key queue. The JSON parser may round or refuse a key. Then two keys may share a queue,
-- but one key never has two queues.
local function queue_of(event)
  local read, key = pcall(key_in, event)
  local kind = read and type(key)
  if kind == 'number' then
    key = ('%.17g'):format(key)
  elseif kind == 'boolean' then
    key = tostring(key)
  elseif kind ~= 'string' then -- none, null, a list or an object
    return nil
  end
  local queue = kind:sub(1, 1) .. key
  return #queue <= 64 and queue:match('^[%w_.:@-]+$') or '#' .. redis.sha1hex(queue)
end

local function acknowledge(source, id)
  redis.call('XACK', KEYS[source], group, id)
  if source == 2 then redis.call('XDEL', retry, id) end
end

-- True if the entry is handed out. Otherwise it is parked, or dropped as a copy.
local function hand_out_or_park(source, id, fields)
  local published, added = split_fields(fields, source == 2)
  local origin, at_event = added.origin or id, value_index(published, 'event')
  local event = at_event and published[at_event]
  local here = where(source == 2, id)
  local at, queue = find_head(heads, origin)
  if at then
    if at ~= here and is_alive(KEYS[1], retry, KEYS[3], group, origin, at) then
      acknowledge(source, id) -- a copy of a head: the group was created again
      return false
    end
    put_head(heads, queue, origin, here)
    return true
  end
  queue = event and origin:match('^%d+-%d+$') and queue_of(event)
  if not queue then return true end
  local busy = redis.call('HEXISTS', heads, 'lane ' .. queue) == 1
  if not busy and not first_parked(queues, queue) then
    put_head(heads, queue, origin, here)
    return true
  end
  added.attempts, added.origin = added.attempts or '0', origin
  park(queues, queue, origin, join_fields(published, added))
  acknowledge(source, id)
  if not busy then advance(heads, queues, retry, queue) end -- its head was deleted
  return false
end

redis.call('XPENDING', KEYS[1], group, '-', '+', 1) -- fails, before anything is read, if the group is missing
local handed_out, more = {}, false
for _, source in ipairs({2, 1}) do
  local room, looks, asked, entries = count, 0, nil, nil
  repeat
    asked = bytes and 1 or math.min(room, looks_max - looks)
    local reply = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', asked, 'STREAMS', KEYS[source], '>')
    entries = reply and reply[1][2] or {}
    for _, entry in ipairs(entries) do
      for _, part in ipairs(bytes and entry[2] or {}) do size = size + #part end
      if hand_out_or_park(source, entry[1], entry[2]) then
        room = room - 1
        handed_out[#handed_out + 1] = {source, entry[1], entry[2]}
      end
    end
    looks = looks + #entries
  until #entries < asked or room == 0 or looks == looks_max or bytes and size >= bytes
  more = more or #entries == asked
end
if more then return {1, '', '', handed_out} end
return {0, last_delivered(KEYS[1], group), last_delivered(retry, group), handed_out}
