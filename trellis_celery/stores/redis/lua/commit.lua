-- Write one step's next record if nobody wrote it since; all of it, or nothing.
-- KEYS[1]  hash        the process: "s:<step>" -> "<version> <token> <record>",
--                      "state" -> "<class> <time of the last change while terminal, epoch ms> <number of records that
--                      count as bit 0>,<as bit 1>…", "identity" -> "<digests><position><business key>"
-- KEYS[2]  sorted set  "<process>|<step>" -> deadline, epoch ms
-- KEYS[3]  sorted set  "<process>|<attempt>|<step>" -> end of lease, epoch ms
-- KEYS[4]  list        the process's log
-- KEYS[5]  hash        step -> stored message
-- KEYS[6]  hash        business key -> live process
-- KEYS[7]  sorted set  entries of the lists of processes
-- KEYS[8]  sorted set  terminal process that is not archived -> its last change, epoch ms
-- KEYS[9]  sorted set  terminal process that is archived -> its last change, epoch ms
-- KEYS[10] sorted set  process of whose log something is to be relayed -> when, epoch ms
-- KEYS[11] hash        "<type digest><name>\n<step>" -> total
-- ARGV[1]  the change, as a map in MessagePack; what is empty or 0 is left out:
--          process, step; version: the expected one; token: of this write; record: the next one
--          deadline: epoch ms; old_lease, new_lease: members; lease_ms: length of the new lease, ms
--          left, entered: the bits that the record stops and begins to count as, one digit each; and only with these
--          classes: the class of a process for each set of bits that occur, one hexadecimal digit a set, from {bit 0} on;
--          own_ends: for each end its log entry and the "<name>\n<step>" of its total, in turns
--          ends: for each class "0", or the digit of the end that its processes have come to: they hold no business key
--          log: entries; totals: "<name>\n<step>" and what is added, in turns; announced: 1 if the log is to be relayed
--          message: 1 to store ARGV[2], 2 to drop what there is
-- ARGV[2]  a message
-- Returns  {1, now in ms, new version, class before, class after}  |  {0, now in ms, current "<version> <token> <record>"}
--          |  {-1, now in ms} if there is no such step

local STORE, DROP = 1, 2

local change = cmsgpack.unpack(ARGV[1])
local field = 's:' .. change.step
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stored = redis.call('HMGET', KEYS[1], field, 'state', 'identity')
local current, state, identity = stored[1], stored[2], stored[3]
if not current then
  return {-1, now}
end
local class, last_since, counts = string.match(state, '^(%x) (%d+) ([%d,]+)$')
local version, token = string.match(current, '^(%d+) (%x+) ')
local next_version = string.format('%d', change.version + 1)
if version == next_version and token == change.token then
  return {1, now, next_version, class, class}
end
if version ~= string.format('%d', change.version) then
  return {0, now, current}
end

-- What the process becomes: its counts, its class, and whether it has come to an end.
local new_class = class
if change.left or change.entered then
  local numbers, present = {}, 0
  for count in string.gmatch(counts, '%d+') do
    numbers[#numbers + 1] = tonumber(count)
  end
  for bit in string.gmatch(change.left or '', '%d') do
    numbers[bit + 1] = numbers[bit + 1] - 1
  end
  for bit in string.gmatch(change.entered or '', '%d') do
    numbers[bit + 1] = numbers[bit + 1] + 1
  end
  for place, count in ipairs(numbers) do
    if count > 0 then
      present = present + 2 ^ (place - 1)
    end
  end
  new_class = string.sub(change.classes, present, present)
  counts = table.concat(numbers, ',')
end
local number, new_number = tonumber(class, 16), tonumber(new_class, 16)
assert(number < #change.ends, 'the class is none of ours')
local old_end = string.sub(change.ends, number + 1, number + 1)
local new_end = string.sub(change.ends, new_number + 1, new_number + 1)
local was_terminal, is_terminal = old_end ~= '0', new_end ~= '0'
local has_ended = is_terminal and new_end ~= old_end
local since = last_since
if is_terminal then
  since = string.format('%d', math.max(now, last_since + 1))
end
local by_type, by_tenant = string.sub(identity, 1, 8), string.sub(identity, 9, 16)
local position, business_key = string.sub(identity, 25, 46), string.sub(identity, 47)

-- Reads of the keys that are written below: one of a wrong type is an error here, before the first write. Of the messages
-- always, because whoever claims a step by this reads its message next.
local due = change.process .. '|' .. change.step
redis.call('ZCARD', KEYS[2])
if change.old_lease or change.new_lease then
  redis.call('ZCARD', KEYS[3])
end
if change.log or has_ended then
  redis.call('LLEN', KEYS[4])
  redis.call('HLEN', KEYS[11])
end
redis.call('HLEN', KEYS[5])
local holder
if new_class ~= class then
  redis.call('ZCARD', KEYS[7])
  holder = redis.call('HGET', KEYS[6], business_key)
end
if was_terminal or is_terminal then
  redis.call('ZCARD', KEYS[8])
  redis.call('ZCARD', KEYS[9])
end
if change.announced then
  redis.call('ZCARD', KEYS[10])
end

-- Nothing is begun that the user may not do to its end. Redis before 7 cannot say.
local may = redis.acl_check_cmd
if may and not (may('HSET', KEYS[1], '', '') and may('HDEL', KEYS[5], '')
  and may('ZADD', KEYS[2], 0, '') and may('ZREM', KEYS[2], '') and may('RPUSH', KEYS[4], '')
  and may('HINCRBY', KEYS[11], '', 1)) then
  return redis.error_reply('NOPERM the user of the store may not use every command that is needed')
end

if change.deadline then
  redis.call('ZADD', KEYS[2], string.format('%d', change.deadline), due)
end
if change.new_lease then
  redis.call('ZADD', KEYS[3], now + change.lease_ms, change.new_lease)
end
if change.message == STORE then
  redis.call('HSET', KEYS[5], change.step, ARGV[2])
end
local next_record = next_version .. ' ' .. change.token .. ' ' .. change.record
redis.call('HSET', KEYS[1], field, next_record, 'state', new_class .. ' ' .. since .. ' ' .. counts)
for _, entry in ipairs(change.log or {}) do
  redis.call('RPUSH', KEYS[4], entry)
end
if not change.deadline then
  redis.call('ZREM', KEYS[2], due)
end
if change.old_lease then
  redis.call('ZREM', KEYS[3], change.old_lease)
end
if change.message == DROP then
  redis.call('HDEL', KEYS[5], change.step)
end
if has_ended then
  redis.call('RPUSH', KEYS[4], change.own_ends[2 * new_end - 1])
end
if change.announced then
  redis.call('ZADD', KEYS[10], 'NX', now, change.process)
end

if is_terminal then
  redis.call('ZADD', KEYS[8], since, change.process)
elseif was_terminal then
  redis.call('ZREM', KEYS[8], change.process)
end
if was_terminal then
  redis.call('ZREM', KEYS[9], change.process)
end
if new_class ~= class then
  redis.call('ZADD', KEYS[7], 0, 't' .. new_class .. by_type .. position, 0, 'u' .. new_class .. by_tenant .. position)
  redis.call('ZREM', KEYS[7], 't' .. class .. by_type .. position, 'u' .. class .. by_tenant .. position)
  if not is_terminal and not holder then
    redis.call('HSET', KEYS[6], business_key, change.process)
  elseif is_terminal and holder == change.process then
    redis.call('HDEL', KEYS[6], business_key)
  end
end

-- Last, because a total that is no number is an error here, and must not keep anything else from being written.
local totals = change.totals or {}
if has_ended then
  totals[#totals + 1] = change.own_ends[2 * new_end]
  totals[#totals + 1] = 1
end
for i = 1, #totals, 2 do
  redis.call('HINCRBY', KEYS[11], by_type .. totals[i], string.format('%d', totals[i + 1]))
end
return {1, now, next_version, class, new_class}
